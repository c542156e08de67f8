//! Rundown: who uses a device from outside its callbacks, and how they are made to leave.
//!
//! A thread uses the device inside [`Rundown::enter`]. Running it down refuses new users, ends with [`Gone`] every wait
//! that a user makes or is in, and waits until all have left (ExWaitForRundownProtectionRelease, and more).

use crate::{
    at::At,
    core_lock::CoreLock,
    hal::{self, Point},
    level::{Dispatch, Passive},
    sched,
    thread::Thread,
    wait::{Gone, Patience, WaitList, wait_on},
};
use alloc::vec::Vec;
use core::{fmt, panic::Location, ptr};

/// Protects what it stands for from going away while threads use it.
///
/// ```
/// use ke::{At, Event, Gone, Passive, Rundown};
/// /// `Err(Gone)`: the device went away, before or during the wait.
/// fn wait_for_device(device: &Rundown, done: &Event, at: &mut At<'_, Passive>) -> Result<(), Gone> {
///     device.enter(at, |at| done.wait(at))?
/// }
/// ```
pub struct Rundown {
    users: CoreLock<Users>,
}

struct Users {
    gone: bool,
    threads: Vec<*const Thread>,
    /// Who waits for the last user to leave.
    waiters: WaitList,
}

// SAFETY: a thread in the list is inside `enter`, so alive; the list is behind a lock.
unsafe impl Send for Users {}

impl Rundown {
    /// Nobody uses it, and it is there.
    pub const fn new() -> Self {
        Rundown { users: CoreLock::new(Users { gone: false, threads: Vec::new(), waiters: WaitList::new() }) }
    }

    /// Runs `f` as a user (ExAcquireRundownProtection). PASSIVE. `Err(Gone)`: it has been run down, `f` was not called.
    #[track_caller]
    pub fn enter<R>(&self, at: &mut At<'_, Passive>, f: impl FnOnce(&mut At<'_, Passive>) -> R) -> Result<R, Gone> {
        at.point(Point::Rundown, ptr::from_ref(self).addr(), Location::caller());
        let me = hal::current_thread(at.hal);
        self.users.with(at, |users, _| {
            if users.gone {
                return Err(Gone);
            }
            users.threads.push(me);
            Ok(())
        })?;
        let result = f(at);
        self.leave(at, me);
        Ok(result)
    }

    fn leave(&self, at: &mut At<'_, Passive>, me: &Thread) {
        self.users.with(at, |users, at| {
            if let Some(place) = users.threads.iter().position(|&user| ptr::eq(user, me)) {
                users.threads.swap_remove(place);
            }
            if users.gone {
                me.alert(false);
            }
            if users.threads.is_empty() {
                while users.waiters.grant_first(at.hal) {}
            }
        });
    }

    /// ExWaitForRundownProtectionRelease: refuses new users, ends the waits of those inside, returns when they have left.
    /// PASSIVE; not from inside [`Self::enter`].
    #[track_caller]
    pub fn run_down(&self, at: &mut At<'_, Passive>) {
        at.point(Point::Rundown, ptr::from_ref(self).addr(), Location::caller());
        self.users.with(at, |users, at| {
            if !users.gone {
                users.gone = true;
                for &user in &users.threads {
                    // SAFETY: a user in the list is alive: it leaves under this lock.
                    let user = unsafe { &*user };
                    sched::wake_when(at.hal, user, || user.alert(true));
                }
            }
        });
        let empty = |users: &mut Users, _: &mut At<'_, Dispatch>| users.threads.is_empty();
        let waited = wait_on(at, &self.users, Patience::FOREVER, empty, |users| &mut users.waiters);
        debug_assert!(waited.is_ok(), "a wait without a deadline or an alert ends by its grant");
    }

    /// ExReInitializeRundownProtection: what it stands for is there again.
    pub fn restart(&self, at: &mut At<'_, Passive>) {
        self.users.with(at, |users, _| users.gone = false);
    }

    /// Whether it has been run down. IRQL <= DISPATCH.
    pub fn is_gone<L: crate::AtMost<Dispatch>>(&self, at: &mut At<'_, L>) -> bool {
        self.users.with(at, |users, _| users.gone)
    }
}

impl Default for Rundown {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Rundown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rundown").finish_non_exhaustive()
    }
}
