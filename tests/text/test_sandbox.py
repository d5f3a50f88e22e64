"""Templates are foreign code: what they can reach, and that every one ends."""

import threading
import time

import pytest

from glmkit.errors import TemplateError
from glmkit.text import render_jinja, sandbox


def loop(change, start="'a'", times=99):
    return (
        f"{{% set ns = namespace(x={start}) %}}{{% for i in range({times}) %}}{{% set ns.x = {change} %}}{{% endfor %}}"
        "{{ ns.x }}"
    )


REACHING = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages[0].__class__ }}",
    "{{ messages['__class__'] }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__code__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ namespace.__init__ }}",
    "{{ messages | attr('__class__') }}",
    "{{ messages | map('attr', '__class__') | list }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ ''.format_map({}) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(content='x') }}",
    "{{ messages.clear() }}",
    "{% include 'other' %}",
    "{% import 'os' as os %}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum() }}",
]


@pytest.mark.parametrize("template", REACHING)
def test_nothing_to_reach(template):
    with pytest.raises(TemplateError, match="chat template"):
        render_jinja(template, "hi")


GROWING = [
    "{{ 'a' * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ [1] * 10**10 }}",
    "{{ (range(90000) | list) * 9000 }}",
    "{{ 9 ** 999999999 }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a'.zfill(10**10) }}",
    "{{ 'a' | center(10**10) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '{:10000000000}'.format(1) }}",
    "{{ (1).to_bytes(10**10) }}",
    "{{ range(10**9) | list }}",
    "{{ messages | tojson(indent=10**10) }}",
    "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "{{ ('a' * 10**6).join(range(10**5)) }}",
    "{{ range(10**5) | join('a' * 10**6) }}",
    "{{ ([1] * 10**5) | sum(start=[]) }}",
    "{{ 1.5 | round(10**10, 'ceil') }}",
    "{{ (['a' * 10**7] * 10**5) | map('upper') | list | length }}",
    loop("ns.x + ['a' * 10**7 ~ i]", start="[]"),
    loop("ns.x ~ ns.x"),
    loop("ns.x + ns.x"),
    loop("ns.x * ns.x", start="3"),
    loop("[ns.x, ns.x]"),
    loop("{'a': ns.x, 'b': ns.x}"),
    loop("dict(a=ns.x, b=ns.x)"),
    loop("namespace(a=ns.x, b=ns.x)"),
    "{% set n0 = namespace(a='x') %}"
    + "".join(f"{{% set n{i + 1} = namespace(a=n{i}, b=n{i}) %}}" for i in range(40))
    + "{{ (n40 ~ '') | length }}",
    "{% set n = namespace(a='x') %}{{ n | upper }}",
    "{{ ('a' * 10**7).rfind('a' * 10**5) }}",
    "{{ ('a' * 10**7).rsplit(sep='a' * 10**5) }}",
    "{{ strftime_now('%250d' * 10**5) | length }}",
    "{% macro f(n) %}{% set y = 'a' * 10**7 %}{% if n %}{{ f(n - 1) }}{% endif %}{{ y | length }}{% endmacro %}"
    "{{ f(200) }}",
    loop("ns.x.replace('a', 'aa')"),
    loop("ns.x | replace('a', 'aa')"),
    loop("[ns.x, ns.x] | join"),
    "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}" + "a" * 1000 + "{% endfor %}{% endfor %}",
]


@pytest.mark.parametrize("template", GROWING)
def test_values_do_not_grow_without_bound(template):
    with pytest.raises(TemplateError, match="chat template"):
        render_jinja(template, "hi")


ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999) | min }}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% for i in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}",
    "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    "{% macro n(k) %}{% if k %}{% call m() %}{{ n(k - 1) }}{% endcall %}{% endif %}{% endmacro %}{{ n(40) }}",
]


@pytest.mark.parametrize("template", ENDLESS)
def test_every_template_ends(template, monkeypatch):
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.2)
    started = time.thread_time()
    with pytest.raises(TemplateError, match=r"does it loop|RecursionError"):
        render_jinja(template, "hi")
    # The clock, of this thread's own work, is read at every pass and call: ten times the budget is never reached.
    assert time.thread_time() - started < 2


def test_the_clock_works_outside_the_main_thread(monkeypatch):
    monkeypatch.setattr(sandbox, "MAX_SECONDS", 0.1)
    caught = []

    def work():
        try:
            render_jinja(ENDLESS[0], "hi")
        except TemplateError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=30)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{% if %}", r"line 2.*Expected an expression"),
        ("{{ messages | nofilter }}", "nofilter"),
        ("{{ nothing.there }}", "'nothing' is undefined"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% break %}", r"^chat template: SyntaxError"),
        ("{{ dict(a=1, a=2) }}", r"^chat template: SyntaxError"),
        ("{% for i in [1] %}" * 25 + "{% endfor %}" * 25, r"^chat template: SyntaxError"),
        ("{% if 1 %}" * 120 + "{% endif %}" * 120, r"^chat template: IndentationError"),
        ("{{ nothing | tojson }}", "TypeError"),
        ("{{ raise_exception('roles must alternate') }}", "refuses this conversation: roles must alternate"),
    ],
)
def test_errors_say_what_and_where(template, said):
    with pytest.raises(TemplateError, match=said):
        render_jinja(template, "hi")


def test_what_chat_templates_use_is_there():
    template = (
        "{% generation %}{{ messages[0].content | upper }}{% endgeneration %}\n"
        "{% for i in [1, 2, 3] %}{% if loop.last %}{{ loop.length }}{% break %}{% endif %}{% endfor %}\n"
        "{{ ['a', 'b'] | join('-') }} {{ ', '.join(['c', 'd']) }} {{ 7 % 4 }} {{ 2 ** 5 }} {{ 'x' * 3 }} "
        "{{ [1] + [2] }}\n"
        "{{ {'a': (1, 2), 'é': '<b>'} | tojson }} {{ 'a,b'.split(',') | last }} "
        "{{ messages | map(attribute='role') | first }}\n"
        "{{ (strftime_now('%Y') | length) }} {{ 'aXb'.replace('X', '-') }} {{ [3, 1] | sort | string }}"
    )
    assert render_jinja(template, "hi") == (
        'HI3a-b c, d 3 32 xxx [1, 2]\n{"a": [1, 2], "é": "<b>"} b user\n4 a-b [1, 3]'
    )


def test_a_context_full_of_conversation_is_within_the_budget():
    turn = [{"role": "user", "content": "word " * 2000}, {"role": "assistant", "content": "word " * 2000}]
    collected = "{% set ns = namespace(l=[]) %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% endfor %}"
    assert len(render_jinja(collected + "{{ ns.l | map(attribute='content') | join }}", turn * 100)) == 2_000_000
