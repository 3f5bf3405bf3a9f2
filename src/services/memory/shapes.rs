//! What memory's tools take and answer, for those who ask before they call.

use crate::{
    backplane::{host::Host, shape::Shape},
    contract::{
        fact::{
            ExportUser, Exported, FactForgotten, ForgetFact, Recall, RecallReply, Remember,
            Remembered,
        },
        item::{Item, STORE_INPUTS, Stored, Verdicts},
        memory::{
            Forgotten, ItemChanged, MessageChanged, OfItem, OfMessage, OfUser, StoreInput,
            StoreInputs, UpdateItem, UpdateMessage,
        },
    },
};

/// The table with the shapes of its tools.
pub(super) fn shaped(host: Host) -> Host {
    let storing = Shape::taking::<StoreInput>(&["input_data"]).answering::<Stored>().adding();
    let all = Shape::taking::<StoreInputs>(&["inputs"]).answering::<Verdicts>().adding();
    let update = Shape::taking::<UpdateItem>(&["item_id", "data"]).answering::<Item>().changing();
    let update_message = Shape::taking::<UpdateMessage>(&["message_id", "updates"])
        .answering::<MessageChanged>()
        .changing();
    let delete = Shape::taking::<OfItem>(&["item_id"]).answering::<ItemChanged>().changing();
    let delete_message =
        Shape::taking::<OfMessage>(&["message_id"]).answering::<MessageChanged>().changing();
    let forget = Shape::taking::<OfUser>(&["user_id"]).answering::<Forgotten>().changing();
    host.shaped("store_input", storing)
        .shaped(STORE_INPUTS, all)
        .shaped("update_item", update)
        .shaped("update_message", update_message)
        .shaped("delete_item", delete)
        .shaped("delete_message", delete_message)
        .shaped("get_item", Shape::taking::<OfItem>(&["item_id"]).answering::<Item>().reading())
        // It may answer null, which no schema of an object allows.
        .shaped("get_message", Shape::taking::<OfMessage>(&["message_id"]).reading())
        .shaped("forget_user", forget)
        .shaped(
            "remember",
            Shape::taking::<Remember>(&["subject", "text"]).answering::<Remembered>().adding(),
        )
        .shaped("recall", Shape::taking::<Recall>(&[]).answering::<RecallReply>().reading())
        .shaped(
            "forget",
            Shape::taking::<ForgetFact>(&["fact_id"]).answering::<FactForgotten>().changing(),
        )
        .shaped("export_user", Shape::taking::<ExportUser>(&[]).answering::<Exported>().reading())
}
