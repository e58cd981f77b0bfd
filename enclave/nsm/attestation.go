package nsm

import (
	"context"
	"fmt"

	"github.com/hf/nsm/request"
)

// The bounds of a request and of the document that answers it. The module's
// documentation gives 512 bytes for user_data and nonce and 1024 for
// public_key (attestation_process.md section 3.2.2.2); a response is at most
// 0x3000 bytes.
const (
	MaxUserDataSize  = 512
	MaxNonceSize     = 512
	MaxPublicKeySize = 1024
	MaxDocumentSize  = 0x3000
)

// A Request is what the module puts into an attestation document on the
// enclave's behalf. A nil field is null in the document.
type Request struct {
	UserData  []byte
	Nonce     []byte
	PublicKey []byte
}

func (r Request) check() error {
	for _, field := range []struct {
		name    string
		value   []byte
		maximum int
	}{
		{"user data", r.UserData, MaxUserDataSize},
		{"nonce", r.Nonce, MaxNonceSize},
		{"public key", r.PublicKey, MaxPublicKeySize},
	} {
		if len(field.value) > field.maximum {
			return fmt.Errorf("nsm: Attestation: got %d bytes of %s, want at most %d", len(field.value), field.name, field.maximum)
		}
	}
	return nil
}

// Attest returns an attestation document: a COSE_Sign1 of 1 to
// [MaxDocumentSize] bytes that the module signed over the request, the locked
// registers and its clock. Only the shape of the answer is checked; whoever
// relies on the document verifies it.
func (d *Device) Attest(ctx context.Context, r Request) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	res, err := d.send(ctx, "Attestation", &request.Attestation{UserData: r.UserData, Nonce: r.Nonce, PublicKey: r.PublicKey})
	if err != nil {
		return nil, err
	}
	if res.Attestation == nil {
		return nil, errOther("Attestation")
	}
	document := res.Attestation.Document
	if len(document) == 0 || len(document) > MaxDocumentSize {
		return nil, fmt.Errorf("nsm: Attestation: got a document of %d bytes, want 1 to %d", len(document), MaxDocumentSize)
	}
	return document, nil
}
