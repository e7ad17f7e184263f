// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU bandwidth: converts thousandths of a CPU to a quota per period, within the kernel's range.

use super::{Value, out_of_range};
use crate::error::Result;
use crate::parse::UNLIMITED;

/// CPU bandwidth in thousandths of one CPU, over each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    /// Thousandths of a CPU: 500 is half of one CPU, 2000 is two.
    pub millicpu: u64,
    /// The period in microseconds. 0 means 100000, or longer if the quota would be below the kernel's minimum.
    pub period_us: u64,
}

/// The limits of kernel/sched in microseconds: the minimum of quota and period, the maximum of the period, and MAX_BW.
const QUOTA_MIN_US: u64 = 1_000;
const PERIOD_US: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const QUOTA_MAX_US: u64 = (1 << 44) - 1;
const PERIOD_DEFAULT_US: u64 = 100_000;

impl CpuMax {
    /// Converts the kernel's values. Rounds a quota up to whole thousandths: this returns each number that was set, since
    /// setting it rounds the quota down.
    pub(super) fn of(quota_us: u64, period_us: u64) -> Self {
        let millicpu = match quota_us {
            UNLIMITED => UNLIMITED,
            quota_us => quota_us.saturating_mul(1_000).div_ceil(period_us.max(1)),
        };
        Self { millicpu, period_us }
    }

    /// Converts to the kernel's values. Fails if they are out of its range.
    pub(super) fn quota(self) -> Result<Value> {
        let Self { millicpu, period_us } = self;
        let asked = if period_us == 0 { PERIOD_DEFAULT_US } else { period_us };
        if !PERIOD_US.contains(&asked) {
            return Err(out_of_range(
                c"cpu.max",
                format!("a period of {asked} us; the kernel takes 1000 to 1000000"),
            ));
        }
        if millicpu == UNLIMITED {
            return Ok(Value::CpuMax { quota_us: UNLIMITED, period_us: asked });
        }
        if millicpu == 0 {
            return Err(out_of_range(
                c"cpu.max",
                "0 thousandths of a CPU would never run: 1 is the least".into(),
            ));
        }
        // The period may only grow if the caller has not set it.
        let least = QUOTA_MIN_US.saturating_mul(1_000).div_ceil(millicpu);
        let period = if period_us == 0 { asked.max(least) } else { asked };
        match millicpu.checked_mul(period).map(|product| product / 1_000) {
            Some(quota_us @ QUOTA_MIN_US..=QUOTA_MAX_US) => Ok(Value::CpuMax { quota_us, period_us: period }),
            Some(quota_us @ ..QUOTA_MIN_US) => Err(out_of_range(
                c"cpu.max",
                format!(
                    "{millicpu}/1000 of {period} us is {quota_us} us; the kernel's least is 1000: take a longer period, or 0"
                ),
            )),
            _ => Err(out_of_range(
                c"cpu.max",
                format!("{millicpu} thousandths of a CPU are more than the kernel counts"),
            )),
        }
    }
}

/// Checks a burst. The kernel refuses one above the quota, since the group can never accumulate more.
pub(super) fn burst(burst_us: Option<u64>, cpu_max: Option<Value>) -> Result<Option<Value>> {
    let Some(burst_us) = burst_us else { return Ok(None) };
    let most = match cpu_max {
        Some(Value::CpuMax { quota_us, .. }) if quota_us != UNLIMITED => quota_us,
        _ => QUOTA_MAX_US,
    };
    if burst_us > most {
        return Err(out_of_range(
            c"cpu.max.burst",
            format!("{burst_us} us is more than {most} us, the most that can be saved up"),
        ));
    }
    Ok(Some(Value::Count(burst_us)))
}
