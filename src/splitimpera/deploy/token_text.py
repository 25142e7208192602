"""Text to tokens and back, on machines without the library that trained the network: bytes, or a packed tokenizer."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Protocol

from splitimpera.bundle.opened import Bundle
from splitimpera.core.errors import BundleError, DataError, shown
from splitimpera.core.extras import needed
from splitimpera.deploy.token_programs import language_of


class TextStream(Protocol):
    """Takes tokens as they come, and hands out the text that is certain by then."""

    def feed(self, token: int) -> str: ...
    def end(self) -> str: ...


class Tokenizer(Protocol):
    """Text to tokens and back."""

    def ids(self, text: str) -> list[int]: ...
    def stream(self) -> TextStream: ...


class ByteTokens:
    """A token is a byte of UTF-8; those beyond 255 have no text.

    Example:
        >>> tokens = ByteTokens()
        >>> tokens.ids("né")
        [110, 195, 169]
        >>> stream = tokens.stream()
        >>> [stream.feed(token) for token in (110, 195, 169)], stream.feed(195), stream.end()
        (['n', '', 'é'], '', '\\ufffd')
    """

    def ids(self, text: str) -> list[int]:
        return list(text.encode())

    def stream(self) -> TextStream:
        return _ByteStream()


class _ByteStream:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        return self._decoder.decode(bytes([token]) if token < 256 else b"")

    def end(self) -> str:
        return self._decoder.decode(b"", final=True)


class PackedTokens:
    """Those of a tokenizer.json, by the library "tokenizers".

    Raises:
        MissingExtraError: the library is not installed.
        BundleError: it cannot read the file, or there are more tokens than the network has.
    """

    def __init__(self, content: bytes, vocabulary: int) -> None:
        needed("tokenizers", "this bundle's tokenizer")
        from tokenizers import Tokenizer as Library  # type: ignore[import-not-found, import-untyped, unused-ignore]

        try:
            self._library: Any = Library.from_str(content.decode())
        except Exception as failure:  # the library's own kind, and of text that is none
            raise BundleError(f"the bundle's tokenizer cannot be read: {shown(failure, 200)}") from None
        if self._library.get_vocab_size() > vocabulary:
            raise BundleError(
                f"the tokenizer has {self._library.get_vocab_size()} tokens, the network {vocabulary}",
                hint="export it with the tokenizer that the network was trained with",
            )

    def ids(self, text: str) -> list[int]:
        return list(self._library.encode(text).ids)

    def stream(self) -> TextStream:
        return _PackedStream(self._library)


class _PackedStream:
    """The text grows with every token; what is certain is what no further token changes: all but a broken end."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._ids: list[int] = []
        self._said = 0

    def feed(self, token: int) -> str:
        self._ids.append(token)
        text: str = self._library.decode(self._ids)
        return "" if text.endswith("\ufffd") else self._new(text)

    def end(self) -> str:
        return self._new(self._library.decode(self._ids))

    def _new(self, text: str) -> str:
        new, self._said = text[self._said :], len(text)
        return new


def tokenizer_of(bundle: Bundle) -> Tokenizer:
    """What a bundle's text is made of.

    Raises:
        BundleError: it is no language model's, or its tokenizer is damaged or another's.
        MissingExtraError: its tokenizer needs a library that is not installed.
    """
    language = language_of(bundle)
    if language.tokenizer is None:
        return ByteTokens()
    return PackedTokens(bundle.read(language.tokenizer), language.vocabulary)


def checked_prompt(ids: Sequence[int], tokens: int, vocabulary: int, context: int) -> list[int]:
    """The ids of a prompt behind which so many tokens can be written.

    Raises:
        DataError: there are none, some are no tokens, or both together go beyond the context.
    """
    prompt = [int(token) for token in ids]
    if not prompt:
        raise DataError("the prompt has no token", hint="give at least one")
    stranger = next((token for token in prompt if not 0 <= token < vocabulary), None)
    if stranger is not None:
        raise DataError(f"{stranger} is no token of the network, it has 0 to {vocabulary - 1}")
    if tokens < 1:
        raise DataError(f"{tokens} tokens cannot be written", hint="ask for at least one")
    if len(prompt) + tokens > context:
        raise DataError(
            f"a prompt of {len(prompt)} tokens and {tokens} more are beyond the context of {context}",
            hint="shorten the prompt, or ask for fewer tokens",
        )
    return prompt
