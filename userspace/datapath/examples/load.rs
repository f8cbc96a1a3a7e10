//! Loads every program and prints what the verifier made of it.
use windrose_datapath::*;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let machine = Machine::inspect()?;
    let pins = Pins::below(&machine.bpffs, "windrose-load");
    let d = Datapath::open(machine, pins.clone(), Capacities::default());
    let d = match d {
        Ok(d) => d,
        Err(e) => {
            let mut s: &dyn std::error::Error = &e;
            loop {
                println!("{s}");
                match s.source() {
                    Some(n) => s = n,
                    None => break,
                }
            }
            pins.remove().ok();
            std::process::exit(1)
        }
    };
    for p in d.programs()? {
        println!("{:20} {:8}", p.name, p.verified_instructions);
    }
    pins.remove()?;
    Ok(())
}
