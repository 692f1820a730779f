//! Medians, ranks, slopes and spreads.

use std::time::Duration;

/// The smallest latency that so many per mille did not exceed (nearest rank), in seconds; they need not be in order.
pub(crate) fn permille(latencies: &mut [Duration], permille: usize) -> Option<f64> {
    latencies.sort_unstable();
    let rank = (latencies.len() * permille).div_ceil(1000);
    latencies.get(rank.checked_sub(1)?).map(Duration::as_secs_f64)
}

/// The middle, or the mean of both middles.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 { Some(upper) } else { Some((values[middle - 1] + upper) / 2.0) }
}

/// The smallest and the largest.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    Some((least, values.iter().copied().max_by(f64::total_cmp)?))
}

/// By how much y grows for each x: least squares. `None` unless there are two different x.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (along > 0.0).then(|| across / along)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_ones() {
        let mut latencies: Vec<_> = (1..=200).rev().map(Duration::from_secs).collect();
        for (rank, expected) in [(500, 100.0), (990, 198.0), (1000, 200.0), (1, 1.0)] {
            assert_eq!(permille(&mut latencies, rank), Some(expected), "{rank}");
        }
        assert_eq!(permille(&mut [], 500), None);
    }

    #[test]
    fn medians_and_spreads_do_not_need_an_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 3.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_slope_is_what_one_more_costs() {
        assert_eq!(slope(&[(1000.0, 5100.0), (9000.0, 45_100.0)]), Some(5.0));
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 0.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(slope(&[]), None);
    }
}
