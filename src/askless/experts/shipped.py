"""The experts that come with askless: backend to `module:Class`. One that is added here re-runs no `generate`."""

EXPERTS = {
    "llm": "askless.experts.local.causal_lm:LlmExpert",
    "vllm": "askless.experts.local.vllm:VllmExpert",
    "openai": "askless.experts.remote.openai:OpenAiExpert",
    "seq2seq": "askless.experts.local.seq2seq:Seq2SeqExpert",
    "extractive": "askless.experts.small.extractive:ExtractiveExpert",
    "lead": "askless.experts.small.lead:LeadExpert",
    "mlp": "askless.experts.small.mlp:MlpExpert",
    "linear": "askless.experts.small.linear:LinearExpert",
    "encoder": "askless.experts.small.encoder:EncoderExpert",
    "stack": "askless.experts.small.stack:StackExpert",
    "finetuned": "askless.experts.small.finetuned:FinetunedExpert",
    "auto": "askless.experts.small.auto:AutoExpert",
    "majority": "askless.experts.small.majority:MajorityExpert",
    "recorded": "askless.experts.recorded:RecordedExpert",
}
