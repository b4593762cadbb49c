//! A reserved port is free for the program that knows its number only.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};

use testkit::ports::ReservedPort;

/// As many ports as this, drawn beside as many as are reserved below: were those free, 35 of them would be met on average.
const DRAWS: usize = 5_000;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux lets a port be held for somebody else")]
fn a_reserved_port_is_drawn_by_nobody_and_a_program_that_is_told_can_be_started_there_again_and_again() {
    let reserved: Vec<ReservedPort> = (0..200).map(|_| ReservedPort::reserve(0).unwrap()).collect();
    let numbers: BTreeSet<u16> = reserved.iter().map(ReservedPort::number).collect();
    assert_eq!(numbers.len(), reserved.len());
    for _ in 0..DRAWS {
        let drawn = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        assert!(!numbers.contains(&drawn), "{drawn} was given to another program");
    }

    let address = reserved[0].address();
    for _ in 0..3 {
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        // As a server does that dies with a connection open.
        let program = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        drop(program.accept().unwrap());
    }
}

#[test]
fn a_port_where_somebody_listens_is_not_reserved() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = ReservedPort::reserve(listener.local_addr().unwrap().port()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
}
