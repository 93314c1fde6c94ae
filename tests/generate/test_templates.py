"""LLM prompts: templates stay in their sandbox, and a bad one is refused by name."""

from pathlib import Path

import pytest
from jinja2.exceptions import SecurityError, UndefinedError

from seamaug.errors import ConfigError
from seamaug.generate.templates import Template
from seamaug.resources import resource

NAMES = sorted(path.stem for path in resource("prompts").glob("*.jinja"))


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ values.append(1) }}",
        "{{ prompt.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('x').read() }}",
        "{{ lipsum.__globals__['os'].system('x') }}",
        "{{ joiner.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ self._TemplateReference__context.__class__ }}",
        "{{ ().__class__.__bases__[0].__subclasses__() }}",
        "{{ '{0.__class__.__mro__}'.format(prompt) }}",
        "{{ '{x.__class__}'.format_map({'x': prompt}) }}",
        "{{ ('{0.__class__}'|attr('format'))(prompt) }}",
        "{{ [prompt]|map(attribute='__class__')|first|attr('mro') }}",
        "{{ [prompt]|map('attr', '__class__')|first|attr('mro') }}",
        "{{ values.__class__.__init__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{% import 'os' as os %}{{ os }}",
        "{% include '/etc/passwd' %}",
        "{% set x = values.append %}{{ x(1) }}",
        "{{ range(10000000000)|list }}",
    ],
)
def test_sandbox(text: str) -> None:
    # jinja2 hides some attributes by treating them as undefined; both end in an error.
    # There is no loader, so nothing can be included either.
    with pytest.raises((SecurityError, UndefinedError, OverflowError, TypeError)):
        Template("t", text).render(prompt="x", values=[])


def test_values_are_never_evaluated() -> None:
    text = "{{ 7 * 7 }}{% for x in range(9) %}x{% endfor %}{# gone? #}{%- raw %}"
    assert Template("t", "<{{ prompt }}>").render(prompt=text) == f"<{text}>"


def test_misspelt_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="promt"):
        Template("t", "{{ promt }}").render(prompt="x")


def test_hash_follows_the_text() -> None:
    assert Template("a", "text").hash == Template("b", "text").hash
    assert Template("a", "text").hash != Template("a", "text ").hash
    assert len({Template.load(name).hash for name in NAMES}) == len(NAMES)


def test_variables_are_those_that_are_shown() -> None:
    text = "{% for n in neighbours %}{{ n }}{% endfor %}{% if a %}{{ b | upper }}{% endif %}"
    assert Template("t", text).variables == {"neighbours", "a", "b"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\n{% if %}", r"template .*bad\.jinja, line 2: "),
        (b"{{ x | nofilter }}", r"template .*bad\.jinja, line 1: No filter named 'nofilter'"),
        (b"\xff\xfe", r"template .*bad\.jinja cannot be read: "),
    ],
)
def test_a_template_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jinja"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Template.read(path)


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.jinja cannot be read"):
        Template.read(tmp_path / "gone.jinja")
