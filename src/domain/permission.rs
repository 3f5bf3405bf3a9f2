//! Who may see and change a workspace or a conversation.

use crate::domain::failure::Failure;

/// What somebody wants to do with a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read it, or send input to it.
    Take,
    /// Change its topic, participants or metadata.
    Update,
    /// Remove it.
    Delete,
}

/// Whether `caller` may do what they wish with a conversation.
///
/// Owner and participants take part and update; only the workspace's owner deletes.
///
/// # Errors
/// `permission_denied`.
pub fn conversation(
    caller: &str,
    owner: &str,
    participants: &[String],
    wish: Wish,
) -> Result<(), Failure> {
    let owns = caller == owner;
    let takes_part = owns || participants.iter().any(|id| id == caller);
    let allowed = match wish {
        Wish::Take | Wish::Update => takes_part,
        Wish::Delete => owns,
    };
    if allowed { Ok(()) } else { Err(Failure::denied("you have no access to this conversation")) }
}

/// Whether `caller` may know of a workspace. A stranger is told that it does not exist.
///
/// # Errors
/// `resource_not_found`.
pub fn workspace(caller: &str, owner: &str, workspace_id: &str) -> Result<(), Failure> {
    if caller == owner { Ok(()) } else { Err(Failure::not_found("workspace", workspace_id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(caller: &str, wish: Wish, allowed: bool) {
        let participants = ["owner".to_owned(), "guest".to_owned()];
        assert_eq!(conversation(caller, "owner", &participants, wish).is_ok(), allowed);
    }

    #[test]
    fn participants_take_part_and_update_only_the_owner_deletes() {
        check("owner", Wish::Delete, true);
        check("guest", Wish::Take, true);
        check("guest", Wish::Update, true);
        check("guest", Wish::Delete, false);
        check("stranger", Wish::Take, false);
    }

    #[test]
    fn a_strangers_workspace_does_not_exist() {
        assert!(workspace("a", "a", "w").is_ok());
        assert_eq!(workspace("b", "a", "w"), Err(Failure::not_found("workspace", "w")));
    }
}
