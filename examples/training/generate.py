"""Load what came out in plain transformers, merged and as an adapter by peft, and let both answer."""

import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("merged")
prompt = tokenizer("What is 3 + 4?", return_tensors="pt", return_token_type_ids=False)
answers = {}
for name, model in {
    "merged": AutoModelForCausalLM.from_pretrained("merged"),
    "adapter": AutoPeftModelForCausalLM.from_pretrained("adapter"),
}.items():
    with torch.no_grad():
        tokens = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    answers[name] = tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    print(f"{name}: {answers[name]!r}")
assert answers["merged"] == answers["adapter"]
