package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// The pipes' numbers in process 1: the first two of exec.Cmd's ExtraFiles.
const (
	orderFD   = 3
	outcomeFD = 4
)

const (
	// maxOrder is above what the kernel accepts as arguments and environment
	// (a quarter of the 8 MiB stack) beside some thousand mounts.
	maxOrder = 16 << 20

	// maxOutcome leaves room for an error with two long paths, and is less
	// than a pipe holds, so that process 1 never waits to report.
	maxOutcome = 32 << 10
)

// order is what the caller tells process 1.
type order struct {
	Layout  []step   `json:"layout"`
	Network bool     `json:"network,omitempty"` // the host's
	Dir     string   `json:"dir"`
	Env     []string `json:"env"`
	Args    []string `json:"args"`
}

// outcome is what process 1 tells the caller. Step is set if the command was
// never started; otherwise Code or Signal says how it ended.
type outcome struct {
	Step   string `json:"step,omitempty"`
	Error  string `json:"error,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Code   int    `json:"code"`
	Signal int    `json:"signal"`
}

// pipes carry the order in and the outcome out, so that neither appears in
// a command line that others could read, or that has a length.
type pipes struct {
	orderRead, orderWrite     *os.File
	outcomeRead, outcomeWrite *os.File
}

func newPipes() (*pipes, error) {
	var p pipes
	var err error
	if p.orderRead, p.orderWrite, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.outcomeRead, p.outcomeWrite, err = os.Pipe(); err != nil {
		p.close()
		return nil, err
	}
	return &p, nil
}

func (p *pipes) closeChildEnds() {
	p.orderRead.Close()
	p.outcomeWrite.Close()
}

// close closes what is still open; Close of a nil or closed file does nothing.
func (p *pipes) close() {
	for _, f := range []*os.File{p.orderRead, p.orderWrite, p.outcomeRead, p.outcomeWrite} {
		f.Close()
	}
}

func writeOrder(w io.Writer, o order) error {
	return json.NewEncoder(w).Encode(o)
}

func readOrder(r io.Reader) (order, error) {
	var o order
	err := decodeStrictly(r, maxOrder, &o)
	return o, err
}

func writeOutcome(w io.Writer, out outcome) error {
	if n := maxOutcome / 8; len(out.Error) > n { // JSON may write a byte as six
		out.Error = out.Error[:n]
	}
	return json.NewEncoder(w).Encode(out)
}

// readOutcome returns nil if process 1 was killed before it wrote one.
func readOutcome(r io.Reader) (*outcome, error) {
	var out outcome
	if err := decodeStrictly(r, maxOutcome, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

var errEmpty = errors.New("nothing was received")

// decodeStrictly reads one JSON value of at most limit bytes that knows only
// v's fields, and then the end.
func decodeStrictly(r io.Reader, limit int64, v any) error {
	counted := &io.LimitedReader{R: r, N: limit + 1}
	d := json.NewDecoder(counted)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		_, err = d.Token()
	}
	switch {
	case counted.N == 0:
		return fmt.Errorf("message: more than %d bytes", limit)
	case errors.Is(err, io.EOF) && d.InputOffset() > 0:
		return nil
	case errors.Is(err, io.EOF):
		return errEmpty
	case err == nil:
		return errors.New("message: data after its end")
	}
	return fmt.Errorf("message: %w", err)
}
