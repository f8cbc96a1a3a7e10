//! Loads every program and prints how many instructions the verifier walked; attaches nothing.

use windrose_datapath::{Capacities, Datapath, Machine, Pins};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let machine = Machine::inspect()?;
    let pins = Pins::below(&machine.bpffs, "windrose-verify");
    let mut datapath = Datapath::open(machine, pins.clone(), Capacities::default())?;
    let plain = datapath.programs()?;
    datapath.set_profiling(true)?;
    println!("{:20} {:>8} {:>8}", "", "plain", "timed");
    for (program, timed) in plain.iter().zip(datapath.programs()?) {
        println!("{:20} {:8} {:8}", program.name, program.verified_instructions, timed.verified_instructions);
    }
    drop(datapath);
    pins.remove()?;
    Ok(())
}
