package eif

import "io"

// The golden vector's kernel is not a kernel, so tests of the format reach below the kernel's check.

// ParseStructure is Parse for any kernel.
func ParseStructure(data []byte) (*Image, error) { return parseStructure(data) }

// WriteStructureTo is WriteTo for any kernel.
func (img *Image) WriteStructureTo(w io.Writer) (int64, error) { return img.writeStructure(w) }

// SignedPayload and SignatureStructure are what a signer signs.
var (
	SignedPayload      = signedPayload
	SignatureStructure = signatureStructure
)
