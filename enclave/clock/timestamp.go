package clock

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"holdfast/enclave/nsm"
)

// A timestamp outside these is no time at which this program runs.
var (
	earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// decoding is strict and bounded: a document has nine fields, registers and
// certificates among them, and Nitro writes maps of indefinite length.
var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   4,
		MaxArrayElements:  64,
		MaxMapPairs:       64,
		TagsMd:            cbor.TagsForbidden,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}()

// envelope is a COSE_Sign1 (RFC 9052 section 4.2).
type envelope struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected map[int64]cbor.RawMessage
	Payload     []byte
	Signature   []byte
}

// parseTimestamp returns the time at which the module made a document, which it
// counts in milliseconds since 1970. The signature is not checked: the document
// comes from the device, which nobody but the hypervisor is behind.
func parseTimestamp(document []byte) (time.Time, error) {
	if len(document) > nsm.MaxDocumentSize {
		return time.Time{}, fmt.Errorf("document has %d bytes, want at most %d", len(document), nsm.MaxDocumentSize)
	}
	var outer envelope
	if err := decoding.Unmarshal(document, &outer); err != nil {
		return time.Time{}, fmt.Errorf("document: %w", err)
	}
	var payload struct {
		Timestamp *uint64 `cbor:"timestamp"`
	}
	if err := decoding.Unmarshal(outer.Payload, &payload); err != nil {
		return time.Time{}, fmt.Errorf("document's payload: %w", err)
	}
	if payload.Timestamp == nil || *payload.Timestamp > uint64(latest.UnixMilli()) || *payload.Timestamp < uint64(earliest.UnixMilli()) {
		return time.Time{}, fmt.Errorf("document's timestamp is %s, want milliseconds since 1970 of a time from %d to %d",
			describe(payload.Timestamp), earliest.Year(), latest.Year())
	}
	return time.UnixMilli(int64(*payload.Timestamp)).UTC(), nil
}

func describe(timestamp *uint64) string {
	if timestamp == nil {
		return "missing"
	}
	return fmt.Sprint(*timestamp)
}
