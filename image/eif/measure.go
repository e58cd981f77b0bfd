package eif

import (
	"crypto/sha512"
	"encoding/json"
	"hash"
	"io"

	"holdfast/verify/pcrs"
)

// Measurements are the registers that an image determines.
type Measurements struct {
	PCR0 pcrs.PCR // kernel, command line and every ramdisk
	PCR1 pcrs.PCR // kernel, command line and ramdisk 0
	PCR2 pcrs.PCR // the ramdisks after 0
	PCR8 pcrs.PCR // the signing certificate; zero for an unsigned image
}

// Measure returns what the hypervisor will measure when it boots the image. It reads the image's contents once for
// PCR0 and PCR1 and, at the same time on another processor, ramdisks 1 and up for PCR2.
func (img *Image) Measure() Measurements {
	application := make(chan pcrs.PCR, 1)
	go func() { application <- extendContent(sha512.New384(), img.applicationRamdisks()) }()

	whole := sha512.New384()
	feed(whole, [][]byte{img.Kernel, []byte(img.CommandLine)})
	feed(whole, img.Ramdisks[:min(1, len(img.Ramdisks))])
	m := Measurements{PCR1: extendDigest(whole)}
	m.PCR0 = extendContent(whole, img.applicationRamdisks())
	if img.Signature != nil {
		m.PCR8 = img.Signature.pcr8()
	}
	m.PCR2 = <-application
	return m
}

func (img *Image) applicationRamdisks() [][]byte {
	return img.Ramdisks[min(1, len(img.Ramdisks)):]
}

// Digest returns the SHA-384 and the size of the image's file.
func (img *Image) Digest() (digest [sha512.Size384]byte, size int64, err error) {
	h := sha512.New384()
	size, err = img.writeStructure(h)
	h.Sum(digest[:0])
	return digest, size, err
}

// extend returns a register that was zero and was extended once.
func extend(data []byte) pcrs.PCR {
	var zero pcrs.PCR
	return sha512.Sum384(append(zero[:], data...))
}

// extendContent feeds the pieces to a hash and extends its digest.
func extendContent(h hash.Hash, pieces [][]byte) pcrs.PCR {
	feed(h, pieces)
	return extendDigest(h)
}

func extendDigest(h hash.Hash) pcrs.PCR { return extend(h.Sum(nil)) }

func feed(h hash.Hash, pieces [][]byte) {
	for _, piece := range pieces {
		h.Write(piece)
	}
}

// WriteMeasurements prints measurements as nitro-cli build-enclave does, so that scripts made for its output work.
func WriteMeasurements(w io.Writer, m Measurements) error {
	type measurements struct {
		HashAlgorithm    string
		PCR0, PCR1, PCR2 pcrs.PCR
		PCR8             pcrs.PCR `json:",omitzero"`
	}
	// The algorithm is the debug form of AWS's Rust hasher.
	text, err := json.MarshalIndent(struct{ Measurements measurements }{
		measurements{"Sha384 { ... }", m.PCR0, m.PCR1, m.PCR2, m.PCR8},
	}, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
