//! The tables as diesel knows them; the migrations are the truth.

diesel::table! {
    users (user_id) {
        user_id -> Text,
        name -> Text,
        email -> Text,
        password_hash -> Nullable<Text>,
        metadata -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    workspaces (id) {
        id -> Text,
        name -> Text,
        description -> Text,
        owner_id -> Text,
        metadata -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    conversations (id) {
        id -> Text,
        workspace_id -> Text,
        topic -> Text,
        participant_ids -> Text,
        metadata -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    outbox (place) {
        place -> BigInt,
        message_id -> Text,
        user_id -> Text,
        conversation_id -> Text,
        input -> Text,
        created_at -> BigInt,
        refusal -> Nullable<Text>,
    }
}

diesel::table! {
    followed_stores (service) {
        service -> Text,
        store_id -> Text,
    }
}

diesel::joinable!(conversations -> workspaces (workspace_id));
diesel::allow_tables_to_appear_in_same_query!(conversations, workspaces);
