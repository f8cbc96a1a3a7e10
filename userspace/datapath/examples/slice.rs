//! A thin slice by hand.
use std::sync::Arc;
use windrose_datapath::*;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let machine = Machine::inspect()?;
    let pins = Pins::below(&machine.bpffs, "windrose-slice");
    let mut d = Datapath::open(machine, pins.clone(), Capacities::default())?;
    let path = std::env::args().nth(1).unwrap();
    let mut compiler = windrose_policy::tables::Compiler::new();
    let load = || {
        let l = windrose_policy::source::load(&[path.clone().into()]).unwrap_or_else(|f| {
            for f in f {
                println!("{f}");
            }
            std::process::exit(1)
        });
        Arc::new(l.model)
    };
    let first = compiler.update(load(), &Default::default()).unwrap();
    let _ = first;
    let diff = difference(&d.pinned_tables()?, compiler.tables());
    println!("{:?}", d.apply(&diff, compiler.tables())?);
    d.attach()?;
    let mut events = d.take_events().unwrap();
    let mut line = String::new();
    println!("ready");
    loop {
        line.clear();
        if std::io::stdin().read_line(&mut line)? == 0 {
            break;
        }
        match line.trim() {
            "r" => {
                let c = compiler.update(load(), &Default::default()).unwrap();
                println!("{} {:?}", c.len(), d.apply(&c, compiler.tables())?);
                println!("ended {}", d.end_denied()?);
            }
            "e" => {
                for e in events.by_ref() {
                    println!(
                        "{:?} {:?} {:?} {:?} rule {} origin {} {}:{} -> {}:{} bytes {}/{}",
                        abi::EventKind::try_from(e.kind),
                        abi::Direction::try_from(e.direction),
                        abi::Verdict::try_from(e.verdict),
                        abi::DropReason::try_from(e.reason),
                        e.rule,
                        e.origin,
                        e.workload,
                        e.local_port,
                        e.peer_workload,
                        e.peer_port,
                        e.bytes_sent,
                        e.bytes_received
                    );
                }
            }
            "c" => {
                for c in d.connections()? {
                    println!("{c:?}");
                }
                for f in d.flows()? {
                    println!("{f:?}")
                }
            }
            "s" => {
                println!("{:?} {:?}", d.counts()?, d.refusals()?);
                for p in d.programs()? {
                    println!("{p:?}")
                }
            }
            "i" => d.set_flow_idle(std::time::Duration::from_secs(1)),
            "a" => println!("adopted in {:?}; ended {:?}", d.adopt_connections(), d.end_denied()),
            "z" => {}
            "x" => {
                println!("{}", pins.remove()?);
                break;
            }
            _ => {}
        }
    }
    Ok(())
}
