"""Texts that a row, a model or a flow may hold and that no report may obey."""

from __future__ import annotations

HOSTILE: tuple[str, ...] = (
    "</script><script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "\"><svg onload=alert(1)> ' onmouseover='alert(1)",
    "{{ 7 * 7 }} {% raw %} ${jndi:ldap://x}",
    "@everyone @octocat see octo/cat#12 and GH-7, !3, <@00000000-0000-0000-0000-000000000000>",
    "![x](http://tracker.example/p.png) [y](javascript:alert(1)) www.example.org http://example.org a@example.org",
    "</details>\n\n# Passed\n\n| a | b |\n|---|---|\n```\n~~~\n> quote\n- item\n1. item\n<!-- ",
    "`` ` ``` back`ticks \\` | pipe \\| pipe",
    "::error::passed\n::set-output name=x::y\n  ::add-mask::a",
    "##vso[task.complete result=Succeeded] ##[error]x ##[group]y",
    "\x1b[2J\x1b[31mred\x1b]8;;http://example.org\x07link\x1b]8;;\x07",
    "left \u202egnihton\u202c \u2066iso\u2069 \u200fmark \u200bzero \U000e0041tag",
    "nul \x00 bell \x07 c1 \x9b0m vt \x0b ff \x0c nel \x85 ls \u2028",
    "lone \ud83d surrogate \udcff, noncharacters \ufffe \uffff",
    "]]> <![CDATA[ &amp; &#0; <?xml ?> <!DOCTYPE a>",
    "日本語のテキスト العربية עברית नमस्ते 👩‍👩‍👧‍👦 e\u0301",
)
