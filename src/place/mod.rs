// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where agents are made. Each file `given`, `delegated`, `root`, `sibling`, `scope` and `tracking` knows one kind of
//! place. `chain` alone knows their order.
//!
//! ```text
//! limits                                          the limits of a whole place
//! chain                                           which place is used
//! tracking                                        places without limits
//! given delegated root sibling scope              the other kinds of places
//! marker                                          what keeps synwire/agents while the place has limits
//! tree                                            synwire/agents below a place
//! session                                         the group of a session, which holds those of its children
//! known                                           the places that were used last
//! check                                           can a place be used?
//! locate                                          from the path of a cgroup to its agent and its directory
//! vacate                                          moving the calling process out of a place
//! enable self_cgroup                              controllers of a cgroup; the cgroup of the calling process
//! types refusal                                   the types; the errors that several files return
//! ```
//!
//! A file uses only files of the lines below its own.

mod chain;
mod check;
mod delegated;
mod enable;
mod given;
mod known;
mod limits;
mod locate;
mod marker;
mod refusal;
mod root;
mod scope;
pub mod self_cgroup;
mod session;
mod sibling;
mod tracking;
mod tree;
mod types;
mod vacate;

pub use chain::{Outcome, Survey, discover, existing, first_usable, is_available, survey};
pub use limits::{get_limits, set_limits};
pub use locate::{AgentInPath, agent_of, in_any_mount, in_last_mount, outermost_place, without_mark};
pub use scope::{failed, hold};
pub use self_cgroup::exit_cgroups;
pub use session::Session;
pub use tree::{AgentDir, make_agent_dir};
pub use types::{Candidate, Kind, Layout, Occupancy, Place, PlacePath, PlaceRequest, Systemd, path_parts};
