package kmstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// pieceSize is that of the OCTET STRINGs of constructed content, as the writer of
// BER that AWS seems to use has it. Answers of AWS that were seen have one piece.
const pieceSize = 1000

// The constant parts of AWS's answers for RSA of 2048 bits, as the vectors of
// enclave/unseal/cms have them.
var (
	cmsHead       = unhex("308006092a864886f70d010703a0803080020102" + "3182016b" + "30820167" + "020102" + "8020")
	cmsAlgorithm  = unhex("303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500" + "04820100")
	cmsContent    = unhex("308006092a864886f70d010701" + "301d060960864801650304012a" + "0410")
	endOfContents = []byte{0, 0}
)

func unhex(s string) []byte {
	out, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return out
}

// enveloped is what one answer holds.
type enveloped struct {
	recipient, encryptedKey, iv, ciphertext []byte
}

// envelop encrypts for a recipient.
func envelop(to *rsa.PublicKey, plaintext []byte) (enveloped, error) {
	spki, err := x509.MarshalPKIXPublicKey(to)
	if err != nil {
		return enveloped{}, err
	}
	recipient := sha256.Sum256(spki)
	contentKey, iv := random(32), random(aes.BlockSize)
	encryptedKey, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, to, contentKey, nil)
	if err != nil {
		return enveloped{}, err
	}
	block, err := aes.NewCipher(contentKey)
	if err != nil {
		return enveloped{}, err
	}
	padding := aes.BlockSize - len(plaintext)%aes.BlockSize
	padded := append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(padded, padded)
	return enveloped{recipient[:], encryptedKey, iv, padded}, nil
}

// encode writes the EnvelopedData in one of the two forms.
func (e enveloped) encode(form Form) []byte {
	out := bytes.Join([][]byte{cmsHead, e.recipient, cmsAlgorithm, e.encryptedKey, cmsContent, e.iv}, nil)
	if form == Primitive {
		out = appendElement(out, 0x80, e.ciphertext)
	} else {
		out = append(out, 0xa0, 0x80)
		for rest := e.ciphertext; len(rest) > 0; {
			piece := rest[:min(len(rest), pieceSize)]
			out, rest = appendElement(out, 0x04, piece), rest[len(piece):]
		}
		out = append(out, endOfContents...)
	}
	// EncryptedContentInfo, EnvelopedData, [0] and ContentInfo end here.
	return append(out, bytes.Repeat(endOfContents, 4)...)
}

// appendElement appends one of definite length.
func appendElement(out []byte, tag byte, contents []byte) []byte {
	switch n := len(contents); {
	case n < 0x80:
		out = append(out, tag, byte(n))
	case n < 0x100:
		out = append(out, tag, 0x81, byte(n))
	default:
		out = append(out, tag, 0x82, byte(n>>8), byte(n))
	}
	return append(out, contents...)
}
