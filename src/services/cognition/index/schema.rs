//! The tables as diesel knows them; the migrations are the truth.

diesel::table! {
    indexed_items (user_id, seq) {
        user_id -> Text,
        seq -> BigInt,
        conversation_id -> Nullable<Text>,
        role -> Text,
        at -> BigInt,
        item -> Text,
    }
}

diesel::table! {
    prepared_items (user_id, seq) {
        user_id -> Text,
        seq -> BigInt,
        rules -> Integer,
        prepared -> Binary,
    }
}

diesel::table! {
    indexed_facts (user_id, seq) {
        user_id -> Text,
        seq -> BigInt,
        fact -> Text,
    }
}

diesel::table! {
    index_cursor (id) {
        id -> Integer,
        seq -> BigInt,
        epoch -> Nullable<Text>,
        items -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(indexed_items, prepared_items);
