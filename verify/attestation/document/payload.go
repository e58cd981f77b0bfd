package document

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// The known fields of the payload, in the order in which real documents have
// them. The last three may be absent.
var (
	required = []string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}
	optional = []string{"public_key", "user_data", "nonce"}
)

// nitroTPMKey marks a document of a NitroTPM, which is signed by the same root
// in the same form but speaks of an ordinary instance.
const nitroTPMKey = "nitrotpm_pcrs"

// parsePayload applies the rules of the groups B and F.
func (d *Document) parsePayload(r *report.Report) error {
	in := &reader{data: d.Payload, rule: report.B1}
	pairs, err := in.topMap()
	if err != nil {
		return err
	}
	var seen []string
	for pairs.more(in) {
		key, err := in.key(seen)
		if err != nil {
			return err
		}
		seen = append(seen, key)
		if err := d.parseField(in, key, r); err != nil {
			return err
		}
	}
	if err := pairs.end(in); err != nil {
		return err
	}
	if err := d.checkPresence(seen, r); err != nil {
		return err
	}
	r.Pass(report.B1, "a definite or indefinite map", pairs.String())
	r.Pass(report.B2, "definite, shortest, untagged", "so throughout")
	r.Pass(report.B3, "no key twice, nothing after the map", fmt.Sprintf("%d keys", len(seen)))
	r.Pass(report.B4, fmt.Sprintf("at most %d of each", maxElements), fmt.Sprintf("%d fields, %d PCRs, %d in cabundle", len(seen), len(d.PCRs), len(d.CABundle)))
	r.Pass(report.B6, "exact spelling", "exact")
	return nil
}

// mapPairs counts down the pairs of the top-level map.
type mapPairs struct {
	indefinite bool
	left, read int
}

// topMap takes the head of the payload's map, of either form.
func (r *reader) topMap() (*mapPairs, error) {
	if r.peek() == majorMap<<5|infoIndefinite {
		r.off++
		return &mapPairs{indefinite: true, left: maxElements}, nil
	}
	n, err := r.count(majorMap, "a map")
	return &mapPairs{left: n}, err
}

// more tells whether another pair follows.
func (p *mapPairs) more(r *reader) bool {
	if p.left == 0 || p.indefinite && r.remaining() > 0 && r.peek() == initialBreak {
		return false
	}
	p.left--
	p.read++
	return true
}

// end takes the end of the map, which must be the end of the payload.
func (p *mapPairs) end(r *reader) error {
	if p.indefinite {
		if r.remaining() == 0 || r.peek() != initialBreak {
			r.rule = report.B4
			return r.errorf(fmt.Sprintf("at most %d fields", maxElements), "more")
		}
		r.off++
	}
	if r.remaining() != 0 {
		r.rule = report.B3
		return r.errorf("nothing after the map", "%d bytes", r.remaining())
	}
	return nil
}

func (p *mapPairs) String() string {
	if p.indefinite {
		return fmt.Sprintf("an indefinite map of %d", p.read)
	}
	return fmt.Sprintf("a definite map of %d", p.read)
}

// key takes one key of the top-level map, which must be text and new.
func (r *reader) key(seen []string) (string, error) {
	r.rule = report.B3
	key, err := r.text()
	if err != nil {
		return "", err
	}
	if slices.Contains(seen, key) {
		return "", r.errorf("no key twice", "%q again", clip(key))
	}
	// A key that differs only in case would be read as the field by parsers
	// that ignore case.
	if !known(key) && known(strings.ToLower(key)) {
		return "", &Error{report.B6, strings.ToLower(key), fmt.Sprintf("%q", key)}
	}
	return key, nil
}

func known(key string) bool { return slices.Contains(required, key) || slices.Contains(optional, key) }

// parseField takes the value of one field.
func (d *Document) parseField(in *reader, key string, r *report.Report) (err error) {
	in.rule = report.B2
	switch key {
	case "module_id":
		d.ModuleID, err = in.text()
		return firstError(err, func() error { return d.checkModuleID(r) })
	case "digest":
		return parseDigest(in, r)
	case "timestamp":
		return d.parseTimestamp(in, r)
	case "pcrs":
		return d.parsePCRs(in, r)
	case "certificate":
		d.Certificate, err = in.bytes()
		return firstError(err, func() error { return checkSize(r, report.F5, d.Certificate, "1 to 1024 bytes") })
	case "cabundle":
		return d.parseCABundle(in, r)
	case "public_key":
		d.PublicKey, err = in.optionalBytes(report.F7, 1)
	case "user_data":
		d.UserData, err = in.optionalBytes(report.F8, 0)
	case "nonce":
		d.Nonce, err = in.optionalBytes(report.F8, 0)
	default:
		d.UnknownKeys = append(d.UnknownKeys, clip(key))
		return in.skip(1)
	}
	return err
}

func firstError(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}

func (d *Document) checkModuleID(r *report.Report) error {
	got := fmt.Sprintf("%q", clip(d.ModuleID))
	if d.ModuleID == "" || len(d.ModuleID) > maxModuleID {
		return &Error{report.F1, fmt.Sprintf("1 to %d bytes", maxModuleID), got}
	}
	r.Pass(report.F1, fmt.Sprintf("1 to %d bytes", maxModuleID), got)
	return nil
}

func parseDigest(in *reader, r *report.Report) error {
	digest, err := in.text()
	if err != nil {
		return err
	}
	if digest != "SHA384" {
		return &Error{report.F2, `"SHA384"`, fmt.Sprintf("%q", clip(digest))}
	}
	r.Pass(report.F2, `"SHA384"`, `"SHA384"`)
	return nil
}

func (d *Document) parseTimestamp(in *reader, r *report.Report) error {
	ms, err := in.uint()
	if err != nil {
		return err
	}
	if ms == 0 || ms >= maxTimestamp {
		return &Error{report.F3, "milliseconds since 1970, below 2^53", fmt.Sprint(ms)}
	}
	d.Timestamp = time.UnixMilli(int64(ms)).UTC()
	r.Pass(report.F3, "milliseconds since 1970", d.Timestamp.Format(time.RFC3339Nano))
	return nil
}

// parsePCRs takes the registers. Which are there is not bounded by how many:
// an enclave that locks PCR16 and above lists them beside 0 to 15.
func (d *Document) parsePCRs(in *reader, r *report.Report) error {
	n, err := in.count(majorMap, "a map")
	if err != nil {
		return err
	}
	if n == 0 {
		return &Error{report.F4, "1 to 32 registers", "none"}
	}
	d.PCRs = make(map[int]pcrs.PCR, n)
	for range n {
		if err := d.parsePCR(in); err != nil {
			return err
		}
	}
	r.Pass(report.F4, "1 to 32 registers of 48 bytes", fmt.Sprintf("%d of 48 bytes", n))
	return nil
}

func (d *Document) parsePCR(in *reader) error {
	in.rule = report.B3
	index, err := in.uint()
	if err != nil {
		return err
	}
	if index >= maxPCRs {
		return &Error{report.F4, "an index from 0 to 31", fmt.Sprint(index)}
	}
	if _, twice := d.PCRs[int(index)]; twice {
		return in.errorf("no key twice", "PCR%d again", index)
	}
	in.rule = report.B2
	value, err := in.bytes()
	if err != nil {
		return err
	}
	if len(value) != len(pcrs.PCR{}) {
		return &Error{report.F4, "48 bytes, as digest is SHA384", fmt.Sprintf("PCR%d of %d bytes", index, len(value))}
	}
	d.PCRs[int(index)] = pcrs.PCR(value)
	return nil
}

func (d *Document) parseCABundle(in *reader, r *report.Report) error {
	n, err := in.count(majorArray, "an array")
	if err != nil {
		return err
	}
	if n == 0 {
		return &Error{report.F6, "at least one certificate", "none"}
	}
	for range n {
		der, err := in.bytes()
		if err != nil {
			return err
		}
		if err := checkSize(r, report.F6, der, "1 to 1024 bytes each"); err != nil {
			return err
		}
		d.CABundle = append(d.CABundle, der)
	}
	return nil
}

func checkSize(r *report.Report, rule report.Rule, der []byte, expected string) error {
	got := fmt.Sprintf("%d bytes", len(der))
	if len(der) < 1 || len(der) > MaxFieldSize {
		return &Error{rule, expected, got}
	}
	r.Pass(rule, expected, got)
	return nil
}

// optionalBytes takes a byte string or null. The specification forbids null,
// real documents have it.
func (r *reader) optionalBytes(rule report.Rule, minimum int) ([]byte, error) {
	if r.null() {
		return nil, nil
	}
	value, err := r.bytes()
	if err != nil {
		return nil, err
	}
	if len(value) < minimum || len(value) > MaxFieldSize {
		return nil, &Error{rule, fmt.Sprintf("null or %d to %d bytes", minimum, MaxFieldSize), fmt.Sprintf("%d bytes", len(value))}
	}
	return value, nil
}

// checkPresence applies B5 and notes the optional fields.
func (d *Document) checkPresence(seen []string, r *report.Report) error {
	if slices.Contains(seen, nitroTPMKey) {
		return &Error{report.B5, "an enclave's document", "a NitroTPM's document, which speaks of an instance and not of an enclave"}
	}
	for _, key := range required {
		if !slices.Contains(seen, key) {
			return &Error{report.B5, strings.Join(required, ", "), "no " + key}
		}
	}
	got := "all"
	if len(d.UnknownKeys) > 0 {
		got = fmt.Sprintf("all, and unknown ones: %q", d.UnknownKeys)
	}
	r.Pass(report.B5, strings.Join(required, ", "), got)
	r.Pass(report.F7, "null or 1 to 1024 bytes", sizeOrNull(d.PublicKey))
	r.Pass(report.F8, "null or at most 1024 bytes each", sizeOrNull(d.UserData)+", "+sizeOrNull(d.Nonce))
	return nil
}

func sizeOrNull(b []byte) string {
	if b == nil {
		return "null"
	}
	return fmt.Sprintf("%d bytes", len(b))
}

// clip shortens what a report quotes.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
