//! What is due while a Pod is to be up.

use std::time::{Duration, Instant};

use super::{
    Action, Image, Moment, Note, Run, Sandbox, Signalled, Slot, Stage, State, StopStep, Stopping,
    Volumes, Why,
};
use crate::wanted::{PullPolicy, RestartPolicy, Role, Wanted, WantedContainer};

/// How long a missing image is shown as an error before it is shown as waiting.
pub(super) const ERROR_SHOWN: Duration = Duration::from_secs(1);

pub(super) fn advance(state: &mut State, now: Moment, actions: &mut Vec<Action>) {
    if is_complete(state) {
        let kill_at = now.mono + state.wanted.grace;
        state.stage =
            Stage::Stopping(Stopping { why: Why::Completed, kill_at, step: StopStep::Signalling });
        return;
    }
    match state.volumes {
        Volumes::Todo => prepare(state, None, actions),
        Volumes::Failed { retry_at, delay } if retry_at <= now.mono => {
            prepare(state, Some(delay), actions);
        }
        Volumes::Preparing { .. } | Volumes::Failed { .. } => {}
        Volumes::Ready => with_sandbox(state, now, actions),
    }
}

fn prepare(state: &mut State, delay: Option<Duration>, actions: &mut Vec<Action>) {
    state.volumes = Volumes::Preparing { delay };
    actions.push(Action::PrepareVolumes);
}

fn with_sandbox(state: &mut State, now: Moment, actions: &mut Vec<Action>) {
    match state.sandbox {
        Sandbox::Absent => create_sandbox(state, actions),
        Sandbox::Failed { retry_at } if retry_at <= now.mono => create_sandbox(state, actions),
        Sandbox::Unconnected { pid, retry_at } if retry_at <= now.mono => {
            state.sandbox = Sandbox::Connecting { pid };
            actions.push(Action::Connect { pid });
        }
        Sandbox::Failed { .. }
        | Sandbox::Unconnected { .. }
        | Sandbox::Creating
        | Sandbox::Connecting { .. } => {}
        Sandbox::Ready { .. } => containers(state, now, actions),
    }
}

fn create_sandbox(state: &mut State, actions: &mut Vec<Action>) {
    state.sandbox = Sandbox::Creating;
    // Whoever ran in the sandbox before runs again, init containers included.
    let wanted = std::sync::Arc::clone(&state.wanted);
    for (slot, wanted) in state.slots.iter_mut().zip(&wanted.containers) {
        if wanted.role == Role::Init && matches!(slot.run, Run::Ended(_)) {
            begin_again(slot);
        }
    }
    actions.push(Action::CreateSandbox);
}

/// Init containers one after the other; a sidecar only has to have started; the others together.
fn containers(state: &mut State, now: Moment, actions: &mut Vec<Action>) {
    let wanted = std::sync::Arc::clone(&state.wanted);
    for (at, container) in wanted.containers.iter().enumerate() {
        let Some(slot) = state.slots.get_mut(at) else { break };
        if container.role == Role::Init && slot.has_succeeded() {
            continue;
        }
        drive(slot, at, &wanted, container, now, actions);
        match container.role {
            Role::Init => break,
            Role::Sidecar if !slot.is_started() => break,
            Role::Sidecar | Role::Main => {}
        }
    }
}

fn drive(
    slot: &mut Slot,
    at: usize,
    pod: &Wanted,
    wanted: &WantedContainer,
    now: Moment,
    actions: &mut Vec<Action>,
) {
    match due(slot, pod, wanted, now.mono) {
        Due::Nothing => return,
        Due::Begin => {}
        Due::Retry => {
            slot.run = Run::Idle;
            slot.image = Image::Unknown;
        }
        Due::Restart => {
            if !restart(slot, pod, wanted, now.mono, actions) {
                return;
            }
        }
        Due::Kill => return kill(slot, at, actions),
    }
    if has_image(slot, at, wanted, now.mono, actions) {
        slot.run = Run::Creating;
        slot.replace = false;
        actions.push(Action::Create { slot: at, attempt: slot.attempt });
    }
}

/// What a container needs now.
enum Due {
    Nothing,
    Begin,
    Retry,
    Restart,
    Kill,
}

fn due(slot: &Slot, pod: &Wanted, wanted: &WantedContainer, now: Instant) -> Due {
    match &slot.run {
        Run::Idle => Due::Begin,
        Run::Failed { retry_at, .. } if *retry_at <= now => Due::Retry,
        Run::Ended(_) if restarts(pod.restart, wanted.role, slot) => Due::Restart,
        Run::Running { kill_at: Some(at), .. } if *at <= now => Due::Kill,
        Run::Failed { .. }
        | Run::Creating
        | Run::Starting { .. }
        | Run::Running { .. }
        | Run::Ended(_) => Due::Nothing,
    }
}

fn kill(slot: &mut Slot, at: usize, actions: &mut Vec<Action>) {
    if let Run::Running { id, signalled, kill_at, .. } = &mut slot.run {
        *signalled = Some(Signalled::Kill);
        *kill_at = None;
        actions.push(Action::Signal { slot: at, id: id.clone(), how: Signalled::Kill });
    }
}

/// Begin the next attempt if its time has come.
fn restart(
    slot: &mut Slot,
    pod: &Wanted,
    wanted: &WantedContainer,
    now: Instant,
    actions: &mut Vec<Action>,
) -> bool {
    let due = slot.replace || slot.restart_at().is_none_or(|at| at <= now);
    if !due {
        if !slot.told {
            slot.told = true;
            let message = format!(
                "Back-off restarting failed container {} in pod {}_{}({})",
                wanted.name, pod.name, pod.namespace, pod.uid
            );
            actions.push(Note::of(Some(wanted), true, "BackOff", message));
        }
        return false;
    }
    slot.backoff = Some(slot.next_backoff(now));
    if let Run::Ended(ended) = &slot.run
        && let Some(id) = &ended.id
    {
        actions.push(Action::Remove { id: id.clone() });
    }
    begin_again(slot);
    true
}

fn begin_again(slot: &mut Slot) {
    if let Run::Ended(ended) = std::mem::replace(&mut slot.run, Run::Idle) {
        slot.last = Some(ended);
        slot.attempt += 1;
    }
    slot.image = Image::Unknown;
    slot.told = false;
}

/// True when the image is here; otherwise looks for it when that is due.
fn has_image(
    slot: &mut Slot,
    at: usize,
    wanted: &WantedContainer,
    now: Instant,
    actions: &mut Vec<Action>,
) -> bool {
    match &mut slot.image {
        Image::Present { .. } => true,
        Image::Resolving { .. } => false,
        Image::Unknown => {
            slot.image = Image::Resolving { delay: None };
            actions.push(Action::ResolveImage { slot: at });
            false
        }
        Image::Missing { at: since, delay, backing_off } => {
            if *since + *delay <= now {
                slot.image = Image::Resolving { delay: Some(*delay) };
                actions.push(Action::ResolveImage { slot: at });
            } else if !*backing_off && *since + ERROR_SHOWN <= now {
                *backing_off = true;
                let pulls = crate::words::bad_name(&wanted.image).is_none();
                if pulls && wanted.pull != PullPolicy::Never {
                    let message = format!("Back-off pulling image \"{}\"", wanted.image);
                    actions.push(Note::of(Some(wanted), false, "BackOff", message));
                    let error = "Error: ImagePullBackOff".to_owned();
                    actions.push(Note::of(Some(wanted), true, "Failed", error));
                }
            }
            false
        }
    }
}

/// Does this policy start this ended container again?
pub(crate) fn restarts(policy: RestartPolicy, role: Role, slot: &Slot) -> bool {
    let Run::Ended(ended) = &slot.run else { return false };
    match (role, policy) {
        (Role::Sidecar, _) | (Role::Main, RestartPolicy::Always) => true,
        (Role::Init, RestartPolicy::Always) | (_, RestartPolicy::OnFailure) => {
            slot.replace || ended.code != 0
        }
        (_, RestartPolicy::Never) => slot.replace,
    }
}

/// All main containers have ended for good, or an init container has failed for good.
fn is_complete(state: &State) -> bool {
    let policy = state.wanted.restart;
    let for_good =
        |role, slot: &Slot| matches!(slot.run, Run::Ended(_)) && !restarts(policy, role, slot);
    let mut mains =
        state.containers().filter(|(_, wanted, _)| wanted.role == Role::Main).peekable();
    let init_failed = state.containers().any(|(_, wanted, slot)| {
        wanted.role == Role::Init && !slot.has_succeeded() && for_good(wanted.role, slot)
    });
    init_failed
        || (mains.peek().is_some() && mains.all(|(_, wanted, slot)| for_good(wanted.role, slot)))
}
