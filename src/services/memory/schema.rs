//! The tables as diesel knows them; the migrations are the truth.

diesel::table! {
    memory_items (seq) {
        seq -> BigInt,
        id -> Text,
        user_id -> Text,
        sender_id -> Text,
        conversation_id -> Nullable<Text>,
        role -> Text,
        sender -> Nullable<Text>,
        caption -> Nullable<Text>,
        content -> Text,
        content_type -> Text,
        timestamp -> Text,
        metadata -> Text,
        extra -> Text,
        body_hash -> Text,
    }
}

diesel::table! {
    store_id (id) {
        id -> Text,
    }
}

diesel::table! {
    memory_changes (seq) {
        seq -> BigInt,
        kind -> Text,
        user_id -> Nullable<Text>,
        item_seq -> Nullable<BigInt>,
        item_id -> Nullable<Text>,
        epoch -> Nullable<Text>,
    }
}

diesel::table! {
    memory_facts (seq) {
        seq -> BigInt,
        id -> Text,
        user_id -> Text,
        subject -> Text,
        subject_folded -> Text,
        key -> Nullable<Text>,
        key_folded -> Nullable<Text>,
        text -> Text,
        source_item_id -> Nullable<Text>,
        recorded_at -> BigInt,
        valid_from -> BigInt,
        valid_to -> Nullable<BigInt>,
        superseded_by -> Nullable<Text>,
        superseded_at -> Nullable<BigInt>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(memory_items, memory_changes, memory_facts);
