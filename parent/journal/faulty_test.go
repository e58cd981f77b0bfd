package journal

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
)

var (
	errInjected = errors.New("injected fault")
	errCrashed  = errors.New("the machine is off")
)

// faultyDisk is a disk in memory that fails or loses power at one step of choice.
// It keeps apart what programs see and what would be there after a loss of power:
// data and names become durable by a sync alone, and a sync that fails marks what it
// did not write as written, as Linux does.
type faultyDisk struct {
	mu      sync.Mutex
	random  *rand.Rand
	names   map[string]*inode
	pending []func(map[string]*inode) // changes of names that no sync has covered
	durable map[string]*inode

	steps  int
	failAt int // the step that fails; 0 for none
	fatal  bool
	off    bool
	full   bool // writes fail, having written a part
}

type inode struct {
	seen, durable []byte
	dirty         []bool // by byte of seen
}

func newFaultyDisk(seed uint64) *faultyDisk {
	return &faultyDisk{random: rand.New(rand.NewPCG(seed, 1)), names: make(map[string]*inode), durable: make(map[string]*inode)}
}

// step counts a change, and is where faults happen.
func (d *faultyDisk) step() error {
	if d.off {
		return errCrashed
	}
	d.steps++
	if d.steps != d.failAt {
		return nil
	}
	if d.fatal {
		d.off = true
		return errCrashed
	}
	return errInjected
}

// restart returns the disk as it may be after a loss of power: of what was not
// synced, an arbitrary beginning is there, with or without zeros after it.
func (d *faultyDisk) restart() *faultyDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newFaultyDisk(d.random.Uint64())
	names := maps.Clone(d.durable)
	for _, change := range d.pending[:d.random.IntN(len(d.pending)+1)] {
		change(names)
	}
	for name, node := range names {
		content := node.afterCrash(d.random)
		after.names[name] = &inode{seen: content, durable: slices.Clone(content), dirty: make([]bool, len(content))}
	}
	after.durable = maps.Clone(after.names)
	return after
}

func (n *inode) afterCrash(r *rand.Rand) []byte {
	content := slices.Clone(n.durable)
	first := slices.Index(n.dirty, true)
	if first < 0 || r.IntN(4) == 0 {
		return content
	}
	written := first + r.IntN(len(n.seen)-first+1)
	content = append(content[:min(first, len(content))], n.seen[min(first, len(content)):written]...)
	if r.IntN(2) == 0 {
		content = append(content, make([]byte, len(n.seen)-written)...)
	}
	return content
}

func (d *faultyDisk) rename(change func(map[string]*inode)) {
	change(d.names)
	d.pending = append(d.pending, change)
}

func (d *faultyDisk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, errCrashed
	}
	return slices.Collect(maps.Keys(d.names)), nil
}

func (d *faultyDisk) Open(name string) (readFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, errCrashed
	}
	if d.names[name] == nil {
		return nil, errors.New("no such file " + name)
	}
	return &faultyFile{d, d.names[name]}, nil
}

func (d *faultyDisk) Create(name string) (appendFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, errors.New("there is a file " + name)
	}
	node := new(inode)
	d.rename(func(names map[string]*inode) { names[name] = node })
	return &faultyFile{d, node}, nil
}

func (d *faultyDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	node := d.names[from]
	d.rename(func(names map[string]*inode) { delete(names, from); names[to] = node })
	return nil
}

func (d *faultyDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	d.rename(func(names map[string]*inode) { delete(names, name) })
	return nil
}

func (d *faultyDisk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	d.durable, d.pending = maps.Clone(d.names), nil
	return nil
}

type faultyFile struct {
	disk *faultyDisk
	node *inode
}

func (f *faultyFile) Close() error { return nil }

func (f *faultyFile) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.node.seen)), nil
}

func (f *faultyFile) ReadAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := copy(p, f.node.seen[at:])
	if n < len(p) {
		return n, errors.New("end of file")
	}
	return n, nil
}

func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.disk.step()
	if err == nil && f.disk.full {
		err = errInjected
	}
	if err != nil {
		p = p[:f.disk.random.IntN(len(p)+1)]
	}
	if grow := int(at) + len(p) - len(f.node.seen); grow > 0 {
		f.node.seen = append(f.node.seen, make([]byte, grow)...)
		f.node.dirty = append(f.node.dirty, make([]bool, grow)...)
	}
	copy(f.node.seen[at:], p)
	for i := range p {
		f.node.dirty[int(at)+i] = true
	}
	return len(p), err
}

func (f *faultyFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.step(); err != nil {
		return err
	}
	f.node.seen, f.node.dirty = f.node.seen[:size], f.node.dirty[:size]
	return nil
}

func (f *faultyFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.disk.step()
	if err == nil {
		f.node.durable = slices.Clone(f.node.durable[:min(len(f.node.durable), len(f.node.seen))])
		f.node.durable = append(f.node.durable, make([]byte, len(f.node.seen)-len(f.node.durable))...)
	}
	for i, dirty := range f.node.dirty {
		if dirty && err == nil {
			f.node.durable[i] = f.node.seen[i]
		}
		f.node.dirty[i] = false // also if it failed, and was not written
	}
	return err
}
