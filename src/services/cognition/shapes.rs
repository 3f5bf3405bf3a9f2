//! What cognition's tools take and answer, for those who ask before they call.

use crate::{
    backplane::{host::Host, shape::Shape},
    contract::cognition::{
        AnalysisReply, AnalyzeConversation, ContextReply, EntitiesReply, ExtractEntities,
        GetContext, HistoryReply, SearchHistory, SearchReply, SummarizeHistory,
    },
};

/// The table with the shapes of its tools.
pub(super) fn shaped(host: Host) -> Host {
    let analysis = Shape::taking::<AnalyzeConversation>(&["conversation_id"])
        .answering::<AnalysisReply>()
        .reading();
    let search = Shape::taking::<SearchHistory>(&["query"]).answering::<SearchReply>().reading();
    let summary = Shape::taking::<SummarizeHistory>(&[]).answering::<HistoryReply>().reading();
    let entities =
        Shape::taking::<ExtractEntities>(&["content"]).answering::<EntitiesReply>().reading();
    host.shaped(
        "get_context",
        Shape::taking::<GetContext>(&[]).answering::<ContextReply>().reading(),
    )
    .shaped("analyze_conversation", analysis)
    .shaped("search_history", search)
    .shaped("summarize_history", summary)
    .shaped("extract_entities", entities)
}
