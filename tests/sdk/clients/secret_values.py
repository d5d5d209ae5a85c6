"""Values of secrets that are easily changed on the way."""

AWKWARD = {
    "blanks": "  leading and trailing  ",
    "tab-and-line-feed": "\t\n",
    "carriage-return": "a\rb\r\nc\n",
    "nul": "a\0b",
    "control-characters": "\x01\x1f\x7f",
    "end-of-cdata": "]]>",
    "markup": '<a href="b">&amp;</a>',
    "backslashes": '\\\\n\\u0041"',
    "percent": "%25+%20&=;~*",
    "json": '{"a":"b"}',
    "other-scripts": "ключ 密钥 🔑 e\u0301",
    "separators": "\u2028\u2029\u200b\ufeff",
    "noncharacters": "\ufffe\uffff",
    "no-base64": "-_-_",
    "one-byte": "0",
    "longest": "x" * 30_720,
    "longest-of-quotes": '"' * 30_720,
    "longest-of-two-bytes": "ж" * 15_360,
}

# XML 1.0 has no way to write these characters.
NOT_IN_XML = {"nul", "control-characters", "noncharacters"}
