package slashing

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// interchangeVersion is the only version of the format that EIP-3076 defines.
const interchangeVersion = "5"

// Bounds on an interchange. Complete histories run to hundreds of megabytes, so
// the document is read as a stream and only its maxima are kept: memory is bounded
// by the number of keys and by the longest token.
const (
	maxInterchangeSize = 1 << 30
	maxInterchangeKeys = 1 << 17
	maxTokenSize       = 1 << 16
	maxReadSize        = 1 << 12
)

// Interchange is signing history in the form of the minimal strategy: for each key
// the highest slot, source and target of all that EIP-3076's document lists for it.
type Interchange struct {
	GenesisValidatorsRoot Root
	States                map[PublicKey]State
}

// ReadInterchange reads an EIP-3076 version 5 document. It is strict: unknown,
// repeated or missing fields, integers that are not decimal strings and trailing
// data are errors. Signing roots are checked and then forgotten, as the minimal
// strategy does, so that nothing imported is ever signed again.
func ReadInterchange(r io.Reader) (Interchange, error) {
	bounded := &boundedReader{reader: r}
	reader := &interchangeReader{bounded: bounded, decoder: json.NewDecoder(bounded)}
	history := Interchange{States: make(map[PublicKey]State)}
	if err := reader.document(&history); err != nil {
		return Interchange{}, fmt.Errorf("interchange, before byte %d: %w", reader.decoder.InputOffset(), err)
	}
	return history, nil
}

// boundedReader keeps a hostile document from growing the decoder's buffer.
type boundedReader struct {
	reader io.Reader
	read   int64 // bytes handed to the decoder
	used   int64 // bytes the decoder has made tokens of
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.read >= maxInterchangeSize {
		return 0, fmt.Errorf("longer than %d bytes", maxInterchangeSize)
	}
	if b.read-b.used > maxTokenSize {
		return 0, fmt.Errorf("a token longer than %d bytes", maxTokenSize)
	}
	n, err := b.reader.Read(p[:min(len(p), maxReadSize)])
	b.read += int64(n)
	return n, err
}

type interchangeReader struct {
	bounded *boundedReader
	decoder *json.Decoder
}

func (r *interchangeReader) token() (json.Token, error) {
	token, err := r.decoder.Token()
	r.bounded.used = r.decoder.InputOffset()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return token, err
}

func (r *interchangeReader) delim(want json.Delim) error {
	token, err := r.token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("got %v, want %v", token, want)
	}
	return nil
}

func (r *interchangeReader) text() (string, error) {
	token, err := r.token()
	if err != nil {
		return "", err
	}
	s, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("got %v, want a string", token)
	}
	return s, nil
}

// object reads an object, calling the named reader for each field. Every required
// field must come, and none twice.
func (r *interchangeReader) object(fields map[string]func() error, required ...string) error {
	if err := r.delim('{'); err != nil {
		return err
	}
	var seen []string
	for r.decoder.More() {
		name, err := r.text()
		if err != nil {
			return err
		}
		read, known := fields[name]
		if !known {
			return fmt.Errorf("unknown field %q", name)
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("field %q comes twice", name)
		}
		seen = append(seen, name)
		if err := read(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range required {
		if !slices.Contains(seen, name) {
			return fmt.Errorf("field %q is missing", name)
		}
	}
	return r.delim('}')
}

func (r *interchangeReader) list(read func() error) error {
	if err := r.delim('['); err != nil {
		return err
	}
	for r.decoder.More() {
		if err := read(); err != nil {
			return err
		}
	}
	return r.delim(']')
}

func (r *interchangeReader) number(n *uint64) func() error {
	return func() error {
		s, err := r.text()
		if err != nil {
			return err
		}
		if s == "" || s[0] < '0' || s[0] > '9' {
			return fmt.Errorf("got %q, want a decimal integer", s)
		}
		*n, err = strconv.ParseUint(s, 10, 64)
		return err
	}
}

func (r *interchangeReader) hex(out []byte) func() error {
	return func() error {
		s, err := r.text()
		if err != nil {
			return err
		}
		digits, ok := strings.CutPrefix(s, "0x")
		if !ok || len(digits) != 2*len(out) {
			return fmt.Errorf("got %q, want 0x and %d hex digits", s, 2*len(out))
		}
		_, err = hex.Decode(out, []byte(digits))
		return err
	}
}

func (r *interchangeReader) document(history *Interchange) error {
	err := r.object(map[string]func() error{
		"metadata": func() error { return r.metadata(history) },
		"data":     func() error { return r.list(func() error { return r.validator(history) }) },
	}, "metadata", "data")
	if err != nil {
		return err
	}
	if _, err := r.decoder.Token(); err != io.EOF {
		return errors.New("data after the document")
	}
	return nil
}

func (r *interchangeReader) metadata(history *Interchange) error {
	return r.object(map[string]func() error{
		"interchange_format_version": func() error {
			version, err := r.text()
			if err == nil && version != interchangeVersion {
				err = fmt.Errorf("got %q, want %q", version, interchangeVersion)
			}
			return err
		},
		"genesis_validators_root": r.hex(history.GenesisValidatorsRoot[:]),
	}, "interchange_format_version", "genesis_validators_root")
}

// validator reads one key's history. A key may come more than once: what is known
// of it adds up.
func (r *interchangeReader) validator(history *Interchange) error {
	var key PublicKey
	var state State
	err := r.object(map[string]func() error{
		"pubkey": r.hex(key[:]),
		"signed_blocks": func() error {
			return r.list(func() error { return r.block(&state.Block) })
		},
		"signed_attestations": func() error {
			return r.list(func() error { return r.attestation(&state.Attestation) })
		},
	}, "pubkey", "signed_blocks", "signed_attestations")
	if err != nil {
		return err
	}
	history.States[key] = Merge(history.States[key], state)
	if len(history.States) > maxInterchangeKeys {
		return fmt.Errorf("more than %d keys", maxInterchangeKeys)
	}
	return nil
}

func (r *interchangeReader) block(mark *BlockMark) error {
	var root Root
	block := BlockMark{Signed: true}
	err := r.object(map[string]func() error{
		"slot":         r.number(&block.Slot),
		"signing_root": r.hex(root[:]),
	}, "slot")
	*mark = mergeBlocks(*mark, block)
	return err
}

func (r *interchangeReader) attestation(mark *AttestationMark) error {
	var root Root
	attestation := AttestationMark{Signed: true}
	err := r.object(map[string]func() error{
		"source_epoch": r.number(&attestation.Source),
		"target_epoch": r.number(&attestation.Target),
		"signing_root": r.hex(root[:]),
	}, "source_epoch", "target_epoch")
	*mark = mergeAttestations(*mark, attestation)
	return err
}

type documentJSON struct {
	Metadata metadataJSON    `json:"metadata"`
	Data     []validatorJSON `json:"data"`
}

type metadataJSON struct {
	Version               string `json:"interchange_format_version"`
	GenesisValidatorsRoot string `json:"genesis_validators_root"`
}

type validatorJSON struct {
	PublicKey    string            `json:"pubkey"`
	Blocks       []blockJSON       `json:"signed_blocks"`
	Attestations []attestationJSON `json:"signed_attestations"`
}

type blockJSON struct {
	Slot        string `json:"slot"`
	SigningRoot string `json:"signing_root,omitempty"`
}

type attestationJSON struct {
	Source      string `json:"source_epoch"`
	Target      string `json:"target_epoch"`
	SigningRoot string `json:"signing_root,omitempty"`
}

// MarshalJSON writes the EIP-3076 document: keys in order, one block and one
// attestation a key at most.
func (h Interchange) MarshalJSON() ([]byte, error) {
	document := documentJSON{
		Metadata: metadataJSON{interchangeVersion, fmt.Sprintf("%#x", h.GenesisValidatorsRoot)},
		Data:     make([]validatorJSON, 0, len(h.States)),
	}
	for key, state := range h.States {
		document.Data = append(document.Data, state.json(key))
	}
	slices.SortFunc(document.Data, func(a, b validatorJSON) int { return strings.Compare(a.PublicKey, b.PublicKey) })
	return json.Marshal(document)
}

func (s State) json(key PublicKey) validatorJSON {
	v := validatorJSON{fmt.Sprintf("%#x", key), []blockJSON{}, []attestationJSON{}}
	if s.Block.Signed {
		v.Blocks = append(v.Blocks, blockJSON{decimal(s.Block.Slot), s.Block.Root.hex()})
	}
	if s.Attestation.Signed {
		v.Attestations = append(v.Attestations, attestationJSON{
			decimal(s.Attestation.Source), decimal(s.Attestation.Target), s.Attestation.Root.hex(),
		})
	}
	return v
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// hex returns the root, or nothing if it is unknown.
func (r SignedRoot) hex() string {
	if !r.Known {
		return ""
	}
	return fmt.Sprintf("%#x", r.Root)
}
