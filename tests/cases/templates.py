"""Chat templates in the manner of those that model families have, and tokenizers that have them."""

from typing import Any

from tests import tiny

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|eot|>", "[INST]", "[/INST]")
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

CHATML = (  # knows three roles and writes nothing for others
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}" + OPENING
)
ANY_ROLE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + OPENING
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    + OPENING
)
LLAMA2 = (  # instructions inside the first user's turn; the roles must alternate
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token }}[INST] {% if loop.first and system %}<<SYS>>{{ system }}<</SYS>> {% endif %}"
    "{{ m.content.strip() }} [/INST]{% else %} {{ m.content.strip() }} {{ eos_token }}{% endif %}{% endfor %}"
)
STRICT = (  # as Gemma's and Mistral's: no system role
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<|eot|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == 'assistant' %}"
    "{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
FIRST_SYSTEM = (  # reads a system message only in front
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}{% for m in messages %}"
    "{% if m.role in ('user', 'assistant') %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    + OPENING
)
LAST_SYSTEM = (  # as Mistral's third: writes the system message into the user's turn at the end, if there is one
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.last and system is defined %}{{ system }}\n\n{% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'image' %}<image>{% else %}"
    "{{ p.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}" + OPENING
)
MIXED = (  # system as a text, other contents as parts
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'system' %}{{ m.content | trim }}{% else %}"
    "{% for p in m.content %}{{ p['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}" + OPENING
)
THINKING = (  # drops what was thought in earlier turns, and may forbid to think
    "{% for m in messages %}{% set content = m.content.split('</think>')[-1].strip() if m.role == 'assistant' else m.content %}"
    "<|im_start|>{{ m.role }}\n{{ content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
    "{% endif %}"
)
ESCAPES = (
    "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content | tojson | upper }}<|im_end|>\n{% endfor %}" + OPENING
)


def tokenizer(template: Any) -> Any:
    """A byte-level tokenizer with special tokens for turns; `<s>` and `</s>` begin and end texts."""
    found = tiny.tokenizer()
    found.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    found.chat_template = template
    return found


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}
