//! The same done to many things by a few threads.
//!
//! **What this module may never do:** let the order of the threads be seen. Answers are in the order of the items,
//! and of several failures the first in that order is told, whichever came first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does the same to every item, by so many threads; the answers are in the order of the items.
pub fn at_once<T: Sync, R: Send>(threads: usize, items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return done };
            done.push((place, act(item)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..items.len().min(threads)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, answer)| answer).collect()
}

/// Whether what is being done is still wanted.
#[derive(Debug)]
pub struct Turn<'a> {
    place: usize,
    failed: &'a AtomicUsize,
}

impl Turn<'_> {
    /// Whether an item before this one has failed: nobody will look at the answer.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) < self.place
    }
}

/// The same, until an item fails. Nothing that comes after it is begun then, and what was begun can see by its
/// [`Turn`] that it may end; what comes before it goes on, as that may fail as well, and would be the one to tell.
///
/// # Errors
/// That of the first item, in their order, that fails.
pub fn until_failure<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    act: impl Fn(&T, &Turn<'_>) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let failed = AtomicUsize::new(usize::MAX);
    let placed: Vec<(usize, &T)> = items.iter().enumerate().collect();
    let answers = at_once(threads, &placed, |(place, item)| {
        let turn = Turn { place: *place, failed: &failed };
        if turn.is_over() {
            return None;
        }
        let answer = act(item, &turn);
        if answer.is_err() {
            failed.fetch_min(*place, Ordering::Relaxed);
        }
        Some(answer)
    });
    // What was left out comes after the failure, at which this ends.
    answers.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn answers_are_in_the_order_of_the_questions() {
        let items: Vec<usize> = (0..100).collect();
        let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
        assert_eq!(at_once(6, &items, |item| item * 2), doubled);
        assert!(at_once(6, &[] as &[usize], |item| *item).is_empty());
        assert_eq!(until_failure(6, &items, |item, _| Ok::<_, ()>(item * 2)), Ok(doubled));
    }

    #[test]
    fn the_first_failure_in_the_order_of_the_items_is_told_although_a_later_one_was_faster() {
        let later_has_failed = AtomicBool::new(false);
        let told = until_failure(2, &[0, 1], |item, turn| {
            if *item == 1 {
                later_has_failed.store(true, Ordering::SeqCst);
                return Err(1);
            }
            while !later_has_failed.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(!turn.is_over(), "what comes first is brought to its end");
            Err::<(), _>(0)
        });
        assert_eq!(told, Err(0));
    }

    #[test]
    fn after_a_failure_nothing_later_is_begun_and_what_was_begun_can_see_it() {
        let (both, begun) = (Barrier::new(2), AtomicUsize::new(0));
        let items: Vec<usize> = (0..100).collect();
        let told = until_failure(2, &items, |item, turn| {
            begun.fetch_add(1, Ordering::SeqCst);
            if *item < 2 {
                both.wait();
            }
            if *item == 0 {
                return Err("no");
            }
            while !turn.is_over() {
                thread::yield_now();
            }
            Ok(())
        });
        assert_eq!((told, begun.into_inner()), (Err("no"), 2));
    }
}
