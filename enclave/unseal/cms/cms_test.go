package cms_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/unseal/cms"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(name, ".b64") {
		return data
	}
	out, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// edgebit returns an answer of KMS and the key that opens it.
func edgebit(t testing.TB) ([]byte, *rsa.PrivateKey) {
	t.Helper()
	block, _ := pem.Decode(read(t, "kms_edgebit.key.pem"))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, "kms_edgebit.b64"), key
}

// edgebitPlaintext is what edgebit holds; its SHA-256 stands for the commitment
// of an envelope.
const edgebitPlaintext = "3be82c44"

func open(blob []byte, key *rsa.PrivateKey, size int) ([]byte, error) {
	e, err := cms.Parse(blob)
	if err != nil {
		return nil, err
	}
	got, err := e.Open(key, size)
	return got.Reveal(), err
}

func TestAnAnswerOfKMSOpensExactly(t *testing.T) {
	blob, key := edgebit(t)
	for _, size := range []int{32, cms.AnySize} {
		got, err := open(blob, key, size)
		if err != nil || len(got) != 32 || !strings.HasPrefix(hex.EncodeToString(got), edgebitPlaintext) || got[31] != 0x41 {
			t.Errorf("size %d: got %x, %v", size, got, err)
		}
	}
}

func TestTheRecipientIsTheHashOfThePublicKey(t *testing.T) {
	blob, key := edgebit(t)
	e, err := cms.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := cms.Recipient(&key.PublicKey); err != nil || got != e.Recipient {
		t.Errorf("got %x, %v, want %x", got, err, e.Recipient)
	}
}

func TestEveryAnswerIsReadInItsParts(t *testing.T) {
	e, err := cms.Parse(read(t, "sdkc_input_ber.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"sdkc_iv_out.bin":            e.IV[:],
		"sdkc_encrypted_key_out.bin": e.EncryptedKey[:],
		"sdkc_ciphertext_out.bin":    e.Ciphertext,
	} {
		if want := read(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
	e, err = cms.Parse(read(t, "kms_python_nokey.b64"))
	if err != nil || len(e.Ciphertext) != 80 {
		t.Fatalf("got %+v, %v, want 80 bytes of ciphertext", e, err)
	}
}

// vectors are the answers in the form they came in.
func vectors(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"edgebit": read(t, "kms_edgebit.b64"),
		"python":  read(t, "kms_python_nokey.b64"),
		"sdk-c":   read(t, "sdkc_input_ber.bin"),
	}
}

// ends is what closes every structure of an answer: the content, its info, the
// data and the whole. In the primitive form the content closes nothing.
const ends = 10

// contentAt is where the content begins: 431 bytes of constant size before it.
const contentAt = 431

// split returns an answer's part before the content, and its ciphertext.
func split(t testing.TB, blob []byte) (head, ciphertext []byte) {
	t.Helper()
	e, err := cms.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	if blob[contentAt] != 0xa0 || blob[contentAt+1] != 0x80 {
		t.Fatalf("got %x at %d, want the content", blob[contentAt:contentAt+2], contentAt)
	}
	return blob[:contentAt:contentAt], e.Ciphertext
}

// primitive rewrites an answer to the form with primitive content, four bytes
// shorter.
func primitive(t testing.TB, blob []byte) []byte {
	head, ciphertext := split(t, blob)
	out := append(bytes.Clone(head), 0x80, byte(len(ciphertext)))
	return append(append(out, ciphertext...), make([]byte, ends-2)...)
}

// chunked rewrites an answer to one with content in pieces of the given sizes.
func chunked(t testing.TB, blob []byte, sizes ...int) []byte {
	head, ciphertext := split(t, blob)
	out := append(bytes.Clone(head), 0xa0, 0x80)
	for _, n := range sizes {
		out = append(append(out, 0x04, byte(n)), ciphertext[:n]...)
		ciphertext = ciphertext[n:]
	}
	if len(ciphertext) != 0 {
		t.Fatalf("%d bytes are left over", len(ciphertext))
	}
	return append(out, make([]byte, ends)...)
}

func TestBothFormsOfTheContentAreTheSame(t *testing.T) {
	blob, key := edgebit(t)
	want, err := open(blob, key, 32)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string][]byte{
		"primitive": primitive(t, blob), "two pieces": chunked(t, blob, 16, 32), "odd pieces": chunked(t, blob, 1, 17, 30),
	} {
		got, err := open(form, key, 32)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
	if got, want := len(primitive(t, blob)), 441+48; got != want {
		t.Errorf("got %d bytes in the primitive form, want %d", got, want)
	}
	if got, want := len(blob), 445+48; got != want {
		t.Errorf("got %d bytes in the constructed form, want %d", got, want)
	}
}

// blind tells whether a change at this place of the edgebit answer cannot be
// detected by CBC: the vector, and the first block of a plaintext of two.
func blind(at, first int) bool {
	return at >= contentAt-16 && at < contentAt || at >= first && at < first+16
}

func TestEveryChangedByteIsAnErrorOrGivesAnotherKey(t *testing.T) {
	blob, key := edgebit(t)
	want, err := open(blob, key, 32)
	if err != nil {
		t.Fatal(err)
	}
	commitment := sha256.Sum256(want)
	for form, test := range map[string]struct {
		blob  []byte
		first int // of the ciphertext
	}{
		"constructed": {blob, contentAt + 4}, "primitive": {primitive(t, blob), contentAt + 2},
	} {
		undetected := map[int]bool{}
		for at := range test.blob {
			changed := bytes.Clone(test.blob)
			for delta := 1; delta < 256; delta++ {
				changed[at] = test.blob[at] ^ byte(delta)
				if delta&costly(at, test.first) != 0 {
					continue
				}
				got, err := open(changed, key, 32)
				if err != nil {
					continue
				}
				if !blind(at, test.first) {
					t.Fatalf("%s: byte %d as %#02x opens", form, at, changed[at])
				}
				undetected[at] = true
				if sha256.Sum256(got) == commitment {
					t.Fatalf("%s: byte %d as %#02x gives the same key", form, at, changed[at])
				}
			}
		}
		// Exactly the vector and the first block: what the package says of itself.
		if len(undetected) != 32 {
			t.Errorf("%s: got %d bytes that only the commitment guards, want 32", form, len(undetected))
		}
	}
}

// costly masks the changes that are left out where each costs an RSA operation:
// one bit of each byte of the encrypted key, three bits and what they make
// together of the rest, but for the byte that decides how long the padding is.
func costly(at, first int) int {
	switch {
	case inEncryptedKey(at):
		return 0xfe
	case at >= contentAt-16 && at < contentAt || at >= first && at < first+48 && at != first+31:
		return 0x6e
	}
	return 0
}

// inEncryptedKey tells the 256 bytes that end before the EncryptedContentInfo.
func inEncryptedKey(at int) bool { const end = 387; return at >= end-256 && at < end }

func TestEveryChangedByteOfTheStructureIsAnErrorWithoutAKey(t *testing.T) {
	for name, blob := range vectors(t) {
		e, err := cms.Parse(blob)
		if err != nil {
			t.Fatal(err)
		}
		for at := range blob {
			if !isStructure(at, len(blob), len(e.Ciphertext)) {
				continue
			}
			changed := bytes.Clone(blob)
			for delta := 1; delta < 256; delta++ {
				changed[at] = blob[at] ^ byte(delta)
				if _, err := cms.Parse(changed); err == nil {
					t.Fatalf("%s: byte %d as %#02x is read", name, at, changed[at])
				}
			}
		}
	}
}

// isStructure leaves out the recipient's identifier, the encrypted key, the
// vector and the ciphertext of the constructed form.
func isStructure(at, size, ciphertext int) bool {
	recipient := at >= 33 && at < 65
	vector := at >= contentAt-16 && at < contentAt
	return !recipient && !inEncryptedKey(at) && !vector && !(at >= size-ends-ciphertext && at < size-ends)
}

func TestEveryTruncationAndEveryAdditionIsAnError(t *testing.T) {
	for name, blob := range vectors(t) {
		for _, form := range [][]byte{blob, primitive(t, blob)} {
			for n := range form {
				if _, err := cms.Parse(form[:n]); err == nil {
					t.Fatalf("%s: the first %d bytes are read", name, n)
				}
			}
			for _, more := range []string{"\x00", "\x00\x00", "\x30\x80", "\xff"} {
				if _, err := cms.Parse(append(bytes.Clone(form), more...)); err == nil {
					t.Errorf("%s: %x after the end is read", name, more)
				}
			}
		}
	}
}

// replace changes one part of the structure that stands there once.
func replace(t *testing.T, blob []byte, old, new string) []byte {
	t.Helper()
	from, err := hex.DecodeString(strings.ReplaceAll(old, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	to, err := hex.DecodeString(strings.ReplaceAll(new, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(blob, from); n != 1 {
		t.Fatalf("%s stands there %d times", old, n)
	}
	return bytes.Replace(blob, from, to, 1)
}

func TestWhatKMSDoesNotWriteIsRefused(t *testing.T) {
	blob := read(t, "kms_edgebit.b64")
	const recipients = "02 01 02 31 82 01 6b"
	secondRecipient := func() []byte {
		at := bytes.Index(blob, []byte{0x31, 0x82, 0x01, 0x6b})
		set := blob[at+4 : at+4+0x16b]
		out := append(bytes.Clone(blob[:at]), 0x31, 0x82, 0x02, 0xd6)
		return append(append(append(out, set...), set...), blob[at+4+0x16b:]...)
	}
	tests := map[string]struct {
		blob []byte
		want string
	}{
		"two recipients":           {secondRecipient(), "too many in RecipientInfos"},
		"no recipient":             {replace(t, blob, recipients, "02 01 02 31 00 31 82 01 6b"), "KeyTransRecipientInfo"},
		"originator information":   {replace(t, blob, recipients, "02 01 02 a0 02 30 00 31 82 01 6b"), "RecipientInfos: got tag 0xa0"},
		"unprotected attributes":   {append(bytes.Clone(blob[:len(blob)-6]), 0xa1, 0x02, 0x31, 0x00, 0, 0, 0, 0, 0, 0), "the end of EnvelopedData"},
		"another version":          {replace(t, blob, recipients, "02 01 00 31 82 01 6b"), "version 2"},
		"a long version":           {replace(t, blob, recipients, "02 02 00 02 31 82 01 6b"), "version 2"},
		"a long length":            {replace(t, blob, recipients, "02 81 01 02 31 82 01 6b"), "shortest form"},
		"a length of three octets": {replace(t, blob, recipients, "02 01 02 31 83 00 01 6b"), "a length of 3 octets"},
		"signed data":              {replace(t, blob, "2a 86 48 86 f7 0d 01 07 03", "2a 86 48 86 f7 0d 01 07 02"), "envelopedData"},
		"RSAES-PKCS1-v1_5":         {replace(t, blob, "2a 86 48 86 f7 0d 01 01 07", "2a 86 48 86 f7 0d 01 01 01"), "RSAES-OAEP"},
		"OAEP with SHA-1":          {replace(t, blob, "a0 0f 30 0d 06 09 60 86 48 01 65 03 04 02 01", "a0 0f 30 0d 06 09 60 86 48 01 65 03 04 02 04"), "RSAES-OAEP"},
		"AES-128":                  {replace(t, blob, "60 86 48 01 65 03 04 01 2a", "60 86 48 01 65 03 04 01 02"), "AES-256-CBC"},
		"an empty piece":           {replace(t, blob, "a0 80 04 30", "a0 80 04 00 04 30"), "an empty OCTET STRING"},
		"no content":               {append(bytes.Clone(blob[:contentAt]), make([]byte, ends-2)...), "encryptedContent: got tag 0x00"},
		"no piece":                 {append(bytes.Clone(blob[:contentAt]), append([]byte{0xa0, 0x80}, make([]byte, ends)...)...), "got 0 bytes of ciphertext"},
		"half a block":             {replace(t, blob, "a0 80 04 30", "a0 80 04 01 00 04 30"), "got 49 bytes of ciphertext"},
		"a piece in a piece":       {replace(t, blob, "a0 80 04 30", "a0 80 24 80 04 30"), "got tag 0x24"},
		"nothing":                  {nil, "got 0 bytes"},
		"too much":                 {make([]byte, cms.MaxSize+1), "got 6145 bytes, want 1 to 6144"},
	}
	for name, test := range tests {
		if e, err := cms.Parse(test.blob); err == nil || e != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, test.want)
		}
	}
}

// seal encrypts for the edgebit key, whatever the padding.
func seal(t testing.TB, key *rsa.PublicKey, contentKey, padded []byte) *cms.EnvelopedData {
	t.Helper()
	recipient, err := cms.Recipient(key)
	if err != nil {
		t.Fatal(err)
	}
	e := &cms.EnvelopedData{Recipient: recipient, Ciphertext: make([]byte, len(padded))}
	encrypted, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, contentKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	copy(e.EncryptedKey[:], encrypted)
	if len(contentKey) == 32 {
		block, err := aes.NewCipher(contentKey)
		if err != nil {
			t.Fatal(err)
		}
		cipher.NewCBCEncrypter(block, e.IV[:]).CryptBlocks(e.Ciphertext, padded)
	}
	return e
}

func TestEverySizeOpensAndNoOther(t *testing.T) {
	_, key := edgebit(t)
	for size := range 66 {
		padding := 16 - size%16
		plaintext := bytes.Repeat([]byte{0x5a}, size)
		e := seal(t, &key.PublicKey, make([]byte, 32), append(plaintext, bytes.Repeat([]byte{byte(padding)}, padding)...))
		for _, want := range []int{cms.AnySize, size} {
			if got, err := e.Open(key, want); err != nil || !bytes.Equal(got.Reveal(), plaintext) {
				t.Errorf("size %d: got %x, %v", size, got.Reveal(), err)
			}
		}
		for _, other := range []int{size + 1, size + 16, 0} {
			if got, err := e.Open(key, other); other != size && (!errors.Is(err, cms.ErrOpen) || got.Len() != 0) {
				t.Errorf("size %d as %d: got %d bytes, %v", size, other, got.Len(), err)
			}
		}
	}
}

func TestEveryWrongPaddingIsTheSameError(t *testing.T) {
	_, key := edgebit(t)
	for last := range 256 {
		block := bytes.Repeat([]byte{byte(last)}, 16)
		e := seal(t, &key.PublicKey, make([]byte, 32), block)
		if _, err := e.Open(key, cms.AnySize); (err == nil) != (last >= 1 && last <= 16) || err != nil && err != cms.ErrOpen {
			t.Errorf("padding of %#02x: got %v", last, err)
		}
		for at := 0; at < 16 && last >= 1 && last <= 16; at++ {
			changed := bytes.Clone(block)
			changed[at] ^= 0x80
			e := seal(t, &key.PublicKey, make([]byte, 32), changed)
			if _, err := e.Open(key, cms.AnySize); (err == nil) != (at < 16-last) {
				t.Errorf("padding of %d changed at %d: got %v", last, at, err)
			}
		}
	}
}

func TestAContentKeyOfAnotherSizeDoesNotOpen(t *testing.T) {
	_, key := edgebit(t)
	for _, size := range []int{0, 16, 31, 33} {
		e := seal(t, &key.PublicKey, make([]byte, size), make([]byte, 16))
		if _, err := e.Open(key, cms.AnySize); !errors.Is(err, cms.ErrOpen) {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

func TestAnotherKeyIsNamed(t *testing.T) {
	blob, _ := edgebit(t)
	other, err := rsa.GenerateKey(rand.Reader, cms.KeyBits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(blob, other, 32); err == nil || !strings.Contains(err.Error(), "got recipient 9631a0c659910ad5") {
		t.Errorf("got %v", err)
	}
	e, err := cms.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	if e.Recipient, err = cms.Recipient(&other.PublicKey); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Open(other, 32); err != cms.ErrOpen {
		t.Errorf("got %v, want %v", err, cms.ErrOpen)
	}
	large, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(blob, large, 32); err == nil || !strings.Contains(err.Error(), "got a key of 3072 bits, want 2048") {
		t.Errorf("got %v", err)
	}
}

func TestNoErrorShowsTheKey(t *testing.T) {
	blob, key := edgebit(t)
	plaintext, err := open(blob, key, 32)
	if err != nil {
		t.Fatal(err)
	}
	_, wrongSize := open(blob, key, 31)
	shown := fmt.Sprintf("%v %+v %#v", wrongSize, wrongSize, wrongSize)
	if strings.Contains(shown, hex.EncodeToString(plaintext)) || strings.Contains(shown, string(plaintext)) {
		t.Errorf("got %q", shown)
	}
}

func FuzzParse(f *testing.F) {
	_, key := edgebit(f)
	for _, blob := range vectors(f) {
		f.Add(blob)
		f.Add(primitive(f, blob))
		f.Add(chunked(f, blob, 16, len(blob)-445-16))
	}
	f.Add([]byte{0x30, 0x80})
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 3072))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := cms.Parse(data)
		if (err == nil) != (e != nil) {
			t.Fatalf("got %v and %v", e, err)
		}
		if err != nil {
			return
		}
		if len(e.Ciphertext) == 0 || len(e.Ciphertext)%16 != 0 || len(e.Ciphertext) > len(data) {
			t.Fatalf("got %d bytes of ciphertext", len(e.Ciphertext))
		}
		if got, err := e.Open(key, cms.AnySize); err != nil && got.Len() != 0 {
			t.Fatalf("got %d bytes and %v", got.Len(), err)
		}
	})
}
