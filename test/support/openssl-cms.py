"""`openssl cms -verify` without a process a message: libcrypto itself, asked over a pipe.

Arguments: a file of trusted certificates. In: frames of a length (four octets) and a message. Out, for
each: `g` and the content, or `b` and what OpenSSL has against it, with a length in between.
"""
import ctypes
import struct
import sys

SMIME_SIGN = 4
MEMORY_POINTER = 3

crypto = ctypes.CDLL('libcrypto.so.3')
pointer, integer = ctypes.c_void_p, ctypes.c_int
for name, result, arguments in (
    ('BIO_new_mem_buf', pointer, (ctypes.c_char_p, integer)),
    ('BIO_s_mem', pointer, ()),
    ('BIO_new', pointer, (pointer,)),
    ('BIO_ctrl', ctypes.c_long, (pointer, integer, ctypes.c_long, pointer)),
    ('BIO_free', integer, (pointer,)),
    ('SMIME_read_CMS', pointer, (pointer, pointer)),
    ('CMS_verify', integer, (pointer, pointer, pointer, pointer, pointer, ctypes.c_uint)),
    ('CMS_ContentInfo_free', None, (pointer,)),
    ('X509_STORE_new', pointer, ()),
    ('X509_STORE_load_file', integer, (pointer, ctypes.c_char_p)),
    ('X509_STORE_set_purpose', integer, (pointer, integer)),
    ('ERR_get_error', ctypes.c_ulong, ()),
    ('ERR_error_string_n', None, (ctypes.c_ulong, ctypes.c_char_p, ctypes.c_size_t)),
):
    function = getattr(crypto, name)
    function.restype, function.argtypes = result, arguments


def store_of(file):
    store = crypto.X509_STORE_new()
    if crypto.X509_STORE_load_file(store, file.encode()) != 1:
        sys.exit(f'no certificates in {file}')
    crypto.X509_STORE_set_purpose(store, SMIME_SIGN)
    return store


def faults():
    said = []
    while code := crypto.ERR_get_error():
        text = ctypes.create_string_buffer(300)
        crypto.ERR_error_string_n(code, text, 300)
        said.append(text.value.decode('latin1'))
    return '\n'.join(said).encode() or b'no reason given'


def octets_of(bio):
    start = pointer()
    size = crypto.BIO_ctrl(bio, MEMORY_POINTER, 0, ctypes.byref(start))
    return ctypes.string_at(start, size) if size > 0 else b''


def verified(message, store):
    source, content, out = crypto.BIO_new_mem_buf(message, len(message)), pointer(), None
    cms = crypto.SMIME_read_CMS(source, ctypes.byref(content))
    try:
        if not cms:
            return b'b', faults()
        out = crypto.BIO_new(crypto.BIO_s_mem())
        if crypto.CMS_verify(cms, None, store, content, out, 0) != 1:
            return b'b', faults()
        return b'g', octets_of(out)
    finally:
        crypto.CMS_ContentInfo_free(cms)
        for bio in (source, content, out):
            if bio:
                crypto.BIO_free(bio)


def main():
    store = store_of(sys.argv[1])
    source, target = sys.stdin.buffer, sys.stdout.buffer
    target.write(b'ready\n')
    target.flush()
    while len(head := source.read(4)) == 4:
        message = source.read(struct.unpack('>I', head)[0])
        verdict, octets = verified(message, store)
        target.write(verdict + struct.pack('>I', len(octets)) + octets)
        target.flush()


main()
