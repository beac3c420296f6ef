"""Names as strangers may give them."""

SCRIPT = "<script>window.__ran = 1</script>"
IMAGE = "<img src=x onerror='window.__ran = 2'>"

NAMES = [
    SCRIPT,
    IMAGE,
    '"><svg onload="window.__ran = 3">',
    "javascript:window.__ran=4",
    "../../escape",
    "/etc/passwd",
    "..",
    "C:\\windows\\system32",
    "nul\0within",
    "line\nbreak\r\nand more\u2028still",
    "tab\tbetween",
    "long " * 2000,
    "longer " * 1500,
    "turned \u202e around",
    "עברית and العربية",
    "\ud800 alone",
    "🐱 猫 👩‍👩‍👧",
    "",
    " ",
    "a & b = c # d + e % f ; g : h ? i",
    "{{constructor.constructor('window.__ran = 5')()}}",
    "\x1b[2J\x07",
]
