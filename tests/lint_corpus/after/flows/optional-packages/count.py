from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from bs4 import BeautifulSoup
from sklearn.feature_extraction.text import CountVectorizer

from promptflow.core import tool

if TYPE_CHECKING:
    import pandas

try:
    import tiktoken
except ImportError:
    tiktoken = None


def frame(text: str) -> pandas.DataFrame:
    import numpy

    return numpy.array([text])


@tool
def count(text: str) -> int:
    plain = BeautifulSoup(text, "html.parser").get_text()
    if tiktoken is None:
        return len(CountVectorizer().build_analyzer()(plain)) + len(yaml.safe_dump(text))
    return len(tiktoken.get_encoding("cl100k_base").encode(plain))
