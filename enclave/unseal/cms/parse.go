package cms

import (
	"bytes"
	"crypto/aes"
	"errors"
	"fmt"
)

// Identifier octets (X.690 section 8.1.2).
const (
	tagInteger         = 0x02
	tagOctetString     = 0x04
	tagOID             = 0x06
	tagSequence        = 0x30
	tagSet             = 0x31
	tagContext0        = 0x80 // [0], primitive
	tagContext0Complex = 0xa0 // [0], constructed

	lengthIndefinite = 0x80
)

// The contents of object identifiers and the encodings of algorithms, whole
// with their parameters.
var (
	oidEnvelopedData = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03} // 1.2.840.113549.1.7.3
	oidData          = []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01} // 1.2.840.113549.1.7.1

	// id-RSAES-OAEP, 1.2.840.113549.1.1.7, with SHA-256 as hash and in MGF1, and
	// the empty label by default (RFC 4055 section 4.1).
	algorithmOAEP = []byte{
		0x30, 0x3c,
		0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07,
		0x30, 0x2f,
		0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
		0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
		0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
	}

	// aes256-CBC, 2.16.840.1.101.3.4.1.42, up to its vector (RFC 3565 section 4.1).
	algorithmCBC = []byte{0x30, 0x1d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a, 0x04, 0x10}

	endOfContents = []byte{0, 0}
)

// Parse reads an EnvelopedData of at most [MaxSize] bytes. The result shares no
// memory with data.
func Parse(data []byte) (*EnvelopedData, error) {
	if len(data) == 0 || len(data) > MaxSize {
		return nil, fmt.Errorf("cms: got %d bytes, want 1 to %d", len(data), MaxSize)
	}
	p := &parser{data: data, end: len(data)}
	e := &EnvelopedData{}
	err := p.contentInfo(e)
	if err == nil && p.more() {
		err = fmt.Errorf("%d bytes after the end", p.end-p.at)
	}
	if err != nil {
		return nil, fmt.Errorf("cms: byte %d: %w", p.at, err)
	}
	return e, nil
}

// A parser reads data[at:end], where end is that of the innermost structure of
// definite length.
type parser struct {
	data    []byte
	at, end int
}

func (p *parser) contentInfo(e *EnvelopedData) error {
	return p.constructed(tagSequence, "ContentInfo", func() error {
		if err := p.exactly(tagOID, oidEnvelopedData, "envelopedData"); err != nil {
			return err
		}
		return p.constructed(tagContext0Complex, "content", func() error {
			return p.constructed(tagSequence, "EnvelopedData", func() error { return p.envelopedData(e) })
		})
	})
}

func (p *parser) envelopedData(e *EnvelopedData) error {
	if err := p.exactly(tagInteger, []byte{2}, "version 2"); err != nil {
		return err
	}
	err := p.constructed(tagSet, "RecipientInfos", func() error {
		return p.constructed(tagSequence, "KeyTransRecipientInfo", func() error { return p.recipient(e) })
	})
	if err != nil {
		return err
	}
	return p.constructed(tagSequence, "EncryptedContentInfo", func() error { return p.encryptedContent(e) })
}

func (p *parser) recipient(e *EnvelopedData) error {
	if err := p.exactly(tagInteger, []byte{2}, "version 2"); err != nil {
		return err
	}
	if err := p.fill(tagContext0, e.Recipient[:], "subjectKeyIdentifier"); err != nil {
		return err
	}
	if err := p.literal(algorithmOAEP, "RSAES-OAEP with SHA-256"); err != nil {
		return err
	}
	return p.fill(tagOctetString, e.EncryptedKey[:], "encryptedKey")
}

func (p *parser) encryptedContent(e *EnvelopedData) error {
	if err := p.exactly(tagOID, oidData, "data"); err != nil {
		return err
	}
	if err := p.literal(algorithmCBC, "AES-256-CBC"); err != nil {
		return err
	}
	vector, err := p.take(aes.BlockSize)
	if err != nil {
		return err
	}
	copy(e.IV[:], vector)
	if err := p.ciphertext(e); err != nil {
		return err
	}
	if n := len(e.Ciphertext); n == 0 || n%aes.BlockSize != 0 {
		return fmt.Errorf("got %d bytes of ciphertext, want whole blocks of %d", n, aes.BlockSize)
	}
	return nil
}

// ciphertext reads the content in one piece, or in pieces.
func (p *parser) ciphertext(e *EnvelopedData) error {
	if p.peek() == tagContext0 {
		content, err := p.primitive(tagContext0, "encryptedContent")
		e.Ciphertext = bytes.Clone(content)
		return err
	}
	return p.constructed(tagContext0Complex, "encryptedContent", func() error {
		for p.more() && p.peek() != endOfContents[0] {
			piece, err := p.primitive(tagOctetString, "OCTET STRING")
			if err != nil {
				return err
			}
			if len(piece) == 0 {
				return errors.New("an empty OCTET STRING")
			}
			e.Ciphertext = append(e.Ciphertext, piece...)
		}
		return nil
	})
}

// constructed reads a structure whose contents body reads to the end.
func (p *parser) constructed(tag byte, name string, body func() error) error {
	length, indefinite, err := p.header(tag, name)
	if err != nil {
		return err
	}
	if indefinite {
		if err := body(); err != nil {
			return err
		}
		return p.literal(endOfContents, "the end of "+name)
	}
	outer := p.end
	p.end = p.at + length
	if err := body(); err != nil {
		return err
	}
	if p.more() {
		return fmt.Errorf("%d bytes too many in %s", p.end-p.at, name)
	}
	p.end = outer
	return nil
}

// primitive returns the contents of a primitive element.
func (p *parser) primitive(tag byte, name string) ([]byte, error) {
	length, indefinite, err := p.header(tag, name)
	if err != nil {
		return nil, err
	}
	if indefinite {
		return nil, fmt.Errorf("%s: an indefinite length", name)
	}
	return p.take(length)
}

// fill reads a primitive element of exactly len(into) bytes.
func (p *parser) fill(tag byte, into []byte, name string) error {
	got, err := p.primitive(tag, name)
	if err != nil {
		return err
	}
	if len(got) != len(into) {
		return fmt.Errorf("%s: got %d bytes, want %d", name, len(got), len(into))
	}
	copy(into, got)
	return nil
}

// exactly reads a primitive element with these contents.
func (p *parser) exactly(tag byte, contents []byte, name string) error {
	got, err := p.primitive(tag, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, contents) {
		return fmt.Errorf("got %x, want %x (%s)", got, contents, name)
	}
	return nil
}

// literal reads these bytes.
func (p *parser) literal(want []byte, name string) error {
	if !bytes.HasPrefix(p.data[p.at:p.end], want) {
		return fmt.Errorf("want %s", name)
	}
	p.at += len(want)
	return nil
}

// header reads an identifier and a length that does not reach beyond the
// enclosing structure. A definite length is in the shortest form.
func (p *parser) header(tag byte, name string) (length int, indefinite bool, err error) {
	head, err := p.take(2)
	if err != nil {
		return 0, false, fmt.Errorf("%s: %w", name, err)
	}
	if head[0] != tag {
		return 0, false, fmt.Errorf("%s: got tag %#02x, want %#02x", name, head[0], tag)
	}
	if head[1] == lengthIndefinite {
		return 0, true, nil
	}
	if length, err = p.length(head[1]); err != nil {
		return 0, false, fmt.Errorf("%s: %w", name, err)
	}
	if length > p.end-p.at {
		return 0, false, fmt.Errorf("%s: got %d bytes, and %d are left", name, length, p.end-p.at)
	}
	return length, false, nil
}

// length completes a definite length of up to two octets, which is enough for
// [MaxSize].
func (p *parser) length(first byte) (int, error) {
	count := int(first &^ 0x80)
	if first < 0x80 {
		return count, nil
	}
	if count > 2 {
		return 0, fmt.Errorf("a length of %d octets", count)
	}
	octets, err := p.take(count)
	if err != nil {
		return 0, err
	}
	length := 0
	for _, octet := range octets {
		length = length<<8 | int(octet)
	}
	if length < 0x80 || count == 2 && length < 0x100 {
		return 0, fmt.Errorf("length %d is not in the shortest form", length)
	}
	return length, nil
}

func (p *parser) take(n int) ([]byte, error) {
	if n > p.end-p.at {
		return nil, errors.New("ends too early")
	}
	out := p.data[p.at : p.at+n]
	p.at += n
	return out, nil
}

func (p *parser) more() bool { return p.at < p.end }

// peek returns the next byte, or that which ends every structure.
func (p *parser) peek() byte {
	if !p.more() {
		return endOfContents[0]
	}
	return p.data[p.at]
}
