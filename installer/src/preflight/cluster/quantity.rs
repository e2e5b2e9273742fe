//! Quantities as Kubernetes writes them: `500m`, `1.5Gi`, `2e3`. Exact, in thousandths: what is smaller is
//! rounded up, as an API server does.

use std::collections::BTreeMap;

use serde_json::Value;

/// A quantity in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(pub(super) i128);

/// Quantities by their resource: `cpu`, `memory`, `pods`.
pub(super) type Quantities = BTreeMap<String, Quantity>;

/// No node and no quota has more digits.
const DIGITS_MAX: usize = 24;

impl Quantity {
    /// A whole number of something.
    #[must_use]
    pub(super) fn count(count: u64) -> Self {
        Self(i128::from(count).saturating_mul(1000))
    }

    /// As it is written, in a text or as a number.
    #[must_use]
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text.trim()),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end)?;
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (factor, tens) = factor(unit)?;
        let mut value = digits.parse::<i128>().ok()?.checked_mul(factor)?.checked_mul(1000)?;
        let shift = tens.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let by = 10_i128.checked_pow(shift.unsigned_abs())?;
        value = match shift < 0 {
            true => value.checked_add(by.checked_sub(1)?)?.checked_div(by)?,
            false => value.checked_mul(by)?,
        };
        Some(Self(if negative { value.checked_neg()? } else { value }))
    }

    /// So many of it.
    #[must_use]
    pub(super) fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i128::from(count)))
    }

    /// With this.
    #[must_use]
    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Without this.
    #[must_use]
    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether it is at most so many hundredths of this.
    #[must_use]
    pub(super) fn is_within(self, percent: u8, of: Self) -> bool {
        self.0.saturating_mul(100) <= of.0.saturating_mul(i128::from(percent))
    }

    /// For people: bytes as such, everything else as Kubernetes writes it.
    #[must_use]
    pub(super) fn show(self, resource: &str) -> String {
        let whole = self.0.div_euclid(1000);
        if resource.ends_with("memory") || resource.ends_with("storage") {
            return u64::try_from(whole).map_or_else(|_| whole.to_string(), edge::show::bytes);
        }
        if self.0.rem_euclid(1000) == 0 { whole.to_string() } else { format!("{}m", self.0) }
    }
}

/// What a unit multiplies by, and by how many powers of ten.
fn factor(unit: &str) -> Option<(i128, i32)> {
    let binary = |power: u32| 1024_i128.checked_pow(power).map(|factor| (factor, 0));
    match unit {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-18..=18).contains(&power).then_some((1, power))
        }
    }
}

/// The quantities of a map such as `limits` or `allocatable`.
#[must_use]
pub(super) fn quantities(map: Option<&Value>) -> Quantities {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, value)| Some((name.clone(), Quantity::of(value)?))).collect()
}

/// Adds all of one to the other.
pub(super) fn add(sum: &mut Quantities, more: &Quantities) {
    for (name, value) in more {
        let sum = sum.entry(name.clone()).or_default();
        *sum = sum.plus(*value);
    }
}

/// Takes the larger of each.
pub(super) fn at_least(sum: &mut Quantities, other: &Quantities) {
    for (name, value) in other {
        let sum = sum.entry(name.clone()).or_default();
        *sum = (*sum).max(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, thousandths) in [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("1.5", 1500),
            ("0.5Gi", 536_870_912_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("2k", 2_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("100n", 1),
            ("1500u", 2),
            ("-2", -2000),
            ("128974848", 128_974_848_000),
        ] {
            assert_eq!(Quantity::of(&json!(text)), Some(Quantity(thousandths)), "{text}");
        }
        for bad in ["", "m", "1.2.3", "1x", "1e", "1e99", "--1", "1 Gi"] {
            assert_eq!(Quantity::of(&json!(bad)), None, "{bad}");
        }
        assert_eq!(Quantity::of(&json!(2)), Some(Quantity(2000)));
        assert_eq!(Quantity::of(&json!(0.5)), Some(Quantity(500)));
    }

    #[test]
    fn a_share_of_a_limit_is_exact() {
        assert!(Quantity::count(60).is_within(60, Quantity::count(100)));
        assert!(!Quantity(60_001).is_within(60, Quantity::count(100)));
        assert!(Quantity::count(0).is_within(60, Quantity::count(0)));
    }

    #[test]
    fn people_read_bytes_and_cores() {
        assert_eq!(Quantity(1500).show("cpu"), "1500m");
        assert_eq!(Quantity::count(3).show("pods"), "3");
        assert_eq!(Quantity::of(&json!("2Gi")).unwrap().show("requests.memory"), edge::show::bytes(2 << 30));
    }
}
