// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scripted manager on a socket of its own, with the part of D-Bus that it needs.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

/// One message from the manager.
#[derive(Clone, Copy)]
pub enum Say {
    /// An empty reply.
    Done,
    /// A reply with a variant that holds a string.
    Variant(&'static str),
    /// A reply with the path of a job.
    Job(&'static str),
    /// An error reply: its name and text.
    Error(&'static str, &'static str),
    /// The signal JobRemoved: the path of the job and its result.
    JobRemoved(&'static str, &'static str),
}

pub const DONE: &[Say] = &[Say::Done];
/// A script without calls.
pub const SAYS: &[(&str, &[Say])] = &[];

/// A manager that serves one client.
pub struct Peer(JoinHandle<()>);

impl Peer {
    /// Expect the ping, and then calls that contain the given words, in that order. It closes the connection after the
    /// last one.
    pub fn on(path: &Path, script: &[(&'static str, &[Say])]) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let script: Vec<(&str, Vec<Say>)> =
            script.iter().map(|(word, says)| (*word, says.to_vec())).collect();
        Self(std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            authenticate(&mut stream);
            for (word, says) in [("Ping", DONE.to_vec())].into_iter().chain(script) {
                let (serial, call) = read_call(&mut stream);
                assert!(holds(&call, word), "expected a call with {word}: {}", call.escape_ascii());
                // All at once, so that a signal behind the answer is there with it.
                let said: Vec<u8> = says.iter().flat_map(|say| message(*say, serial)).collect();
                stream.write_all(&said).unwrap();
            }
        }))
    }

    /// Wait for the end of the script. Panics if the client made other calls.
    pub fn join(self) {
        self.0.join().unwrap();
    }
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

fn authenticate(stream: &mut UnixStream) {
    let mut said = Vec::new();
    while !said.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    // Since version 247 sd-bus does not send its name with AUTH, but in a separate, empty DATA.
    let challenge = if holds(&said, "\r\nDATA") { "DATA\r\n" } else { "" };
    write!(stream, "{challenge}OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n").unwrap();
}

/// Read one call: its serial number and all of its bytes.
fn read_call(stream: &mut UnixStream) -> (u32, Vec<u8>) {
    let mut call = vec![0; 16];
    stream.read_exact(&mut call).unwrap();
    let number = |at: usize| u32::from_ne_bytes(call[at..at + 4].try_into().unwrap());
    let (body, serial, fields) = (number(4) as usize, number(8), number(12) as usize);
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    stream.read_exact(&mut rest).unwrap();
    call.extend(rest);
    (serial, call)
}

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    align(bytes, 4);
    bytes.extend(u32::try_from(number).unwrap().to_ne_bytes());
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).unwrap());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// The bytes of one message; `asked` is the serial number of the call.
fn message(say: Say, asked: u32) -> Vec<u8> {
    let (mut body, mut fields) = (Vec::new(), Vec::new());
    let string = |fields: &mut Vec<u8>, code: u8, kind: &str, text: &str| {
        align(fields, 8);
        fields.push(code);
        put_signature(fields, kind);
        put_string(fields, text);
    };
    let (kind, signature) = match say {
        Say::Done => (2, ""),
        Say::Variant(text) => {
            put_signature(&mut body, "s");
            put_string(&mut body, text);
            (2, "v")
        }
        Say::Job(path) => {
            put_string(&mut body, path);
            (2, "o")
        }
        Say::Error(name, words) => {
            string(&mut fields, 4, "s", name);
            put_string(&mut body, words);
            (3, "s")
        }
        Say::JobRemoved(path, result) => {
            string(&mut fields, 1, "o", "/org/freedesktop/systemd1");
            string(&mut fields, 2, "s", "org.freedesktop.systemd1.Manager");
            string(&mut fields, 3, "s", "JobRemoved");
            put_number(&mut body, 1);
            put_string(&mut body, path);
            put_string(&mut body, "a.scope");
            put_string(&mut body, result);
            (4, "uoss")
        }
    };
    if kind != 4 {
        align(&mut fields, 8);
        fields.push(5);
        put_signature(&mut fields, "u");
        put_number(&mut fields, asked as usize);
    }
    if !signature.is_empty() {
        align(&mut fields, 8);
        fields.push(8);
        put_signature(&mut fields, "g");
        put_signature(&mut fields, signature);
    }
    let endian = if cfg!(target_endian = "little") { b'l' } else { b'B' };
    let mut whole = vec![endian, kind, 1, 1];
    put_number(&mut whole, body.len());
    put_number(&mut whole, 1);
    put_number(&mut whole, fields.len());
    whole.extend(fields);
    align(&mut whole, 8);
    whole.extend(body);
    whole
}
