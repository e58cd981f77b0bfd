package crossover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Requests of the vhost-user protocol that a vsock front-end makes.
const (
	getFeatures         = 1
	setFeatures         = 2
	setOwner            = 3
	setMemTable         = 5
	setVringNum         = 8
	setVringAddr        = 9
	setVringBase        = 10
	getVringBase        = 11
	setVringKick        = 12
	setVringCall        = 13
	setVringErr         = 14
	getProtocolFeatures = 15
	setProtocolFeatures = 16
	setVringEnable      = 18
	getConfig           = 24
)

const (
	featureProtocol = 1 << 30 // VHOST_USER_F_PROTOCOL_FEATURES
	featureVersion1 = 1 << 32 // VIRTIO_F_VERSION_1
	protocolConfig  = 1 << 9  // VHOST_USER_PROTOCOL_F_CONFIG

	messageVersion = 1
	messageReply   = 4

	// maxMessage bounds a payload; the largest is a table of eight memory regions.
	maxMessage = 4096
	// maxFiles bounds the descriptors that come with a message, one a region.
	maxFiles = 8
	// vringNoFile marks a ring's message that has no descriptor.
	vringNoFile = 1 << 8
)

type message struct {
	request uint32
	payload []byte
	files   []*os.File // owned by whoever handles the message
}

// readMessage reads a header, with any descriptors, and its payload.
func readMessage(conn *net.UnixConn) (message, error) {
	var header [12]byte
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := conn.ReadMsgUnix(header[:], oob)
	if err != nil {
		return message{}, err
	}
	if n == 0 {
		return message{}, io.EOF
	}
	files, err := descriptors(oob[:oobn])
	if err != nil {
		return message{}, err
	}
	m := message{request: binary.NativeEndian.Uint32(header[:]), files: files}
	if flags&unix.MSG_CTRUNC != 0 {
		return m, errors.New("too many descriptors in a message")
	}
	if _, err := io.ReadFull(conn, header[n:]); err != nil {
		return m, err
	}
	size := binary.NativeEndian.Uint32(header[8:])
	if size > maxMessage {
		return m, fmt.Errorf("message of %d bytes, want at most %d", size, maxMessage)
	}
	m.payload = make([]byte, size)
	_, err = io.ReadFull(conn, m.payload)
	return m, err
}

func descriptors(oob []byte) ([]*os.File, error) {
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, c := range controls {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			// So that closing an event descriptor ends a read of it. On memory it means nothing.
			if err := unix.SetNonblock(fd, true); err != nil {
				return nil, err
			}
			files = append(files, os.NewFile(uintptr(fd), "vhost-user"))
		}
	}
	return files, nil
}

func writeReply(w io.Writer, request uint32, payload []byte) error {
	b := binary.NativeEndian.AppendUint32(nil, request)
	b = binary.NativeEndian.AppendUint32(b, messageVersion|messageReply)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// An end is the back-end of one guest's device.
type end struct {
	cable     *Cable
	cid       uint64
	memory    memory
	retired   []memory // replaced tables; rings may still lie in them
	rings     [rings]ring
	delivered int // bytes of its next packet's payload that the other guest has already
}

// close ends service. Once the rings are stopped nothing refers to the guest's memory.
func (e *end) close() error {
	e.cable.mu.Lock()
	defer e.cable.mu.Unlock()
	for i := range e.rings {
		e.rings[i].stop()
	}
	var errs []error
	for _, m := range append(e.retired, e.memory) {
		errs = append(errs, m.unmap())
	}
	e.memory, e.retired = nil, nil
	return errors.Join(errs...)
}

// stop forgets what the driver told of a ring.
func (r *ring) stop() {
	for _, f := range []*os.File{r.kick, r.call} {
		if f != nil {
			f.Close()
		}
	}
	*r = ring{}
}

// handle carries out one request and returns the reply, if the request has one.
func (e *end) handle(m message) ([]byte, error) {
	e.cable.mu.Lock()
	defer e.cable.mu.Unlock()
	switch m.request {
	case getFeatures:
		return number(featureProtocol | featureVersion1), nil
	case getProtocolFeatures:
		return number(protocolConfig), nil
	case setFeatures, setProtocolFeatures, setOwner, setVringErr:
		return nil, m.discard()
	case setMemTable:
		return nil, e.setMemory(m)
	case getConfig:
		return e.config(m.payload)
	}
	return e.handleRing(m)
}

func (m message) discard() error {
	for _, f := range m.files {
		f.Close()
	}
	return nil
}

func number(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }

// config answers a read of the device's configuration, which is the CID alone.
func (e *end) config(p []byte) ([]byte, error) {
	const header = 12 // offset, size, flags
	if len(p) != header+8 || binary.NativeEndian.Uint32(p) != 0 || binary.NativeEndian.Uint32(p[4:]) != 8 {
		return nil, errors.New("want a read of all 8 bytes of the configuration")
	}
	binary.LittleEndian.PutUint64(p[header:], e.cid)
	return p, nil
}

func (e *end) setMemory(m message) error {
	defer m.discard()
	if len(m.payload) < 8 {
		return errors.New("memory table is cut off")
	}
	n := int(binary.NativeEndian.Uint32(m.payload))
	if n != len(m.files) || len(m.payload) < 8+32*n {
		return fmt.Errorf("memory table of %d regions comes with %d descriptors", n, len(m.files))
	}
	var regions memory
	for i, f := range m.files {
		p := m.payload[8+32*i:]
		field := func(k int) uint64 { return binary.NativeEndian.Uint64(p[8*k:]) }
		r, err := mapRegion(int(f.Fd()), field(0), field(2), field(1), field(3))
		if err != nil {
			return errors.Join(err, regions.unmap())
		}
		regions = append(regions, r)
	}
	e.retired, e.memory = append(e.retired, e.memory), regions
	return nil
}

// handleRing carries out a request that concerns one ring.
func (e *end) handleRing(m message) ([]byte, error) {
	if len(m.payload) < 8 {
		return nil, fmt.Errorf("unknown or cut off, %d bytes", len(m.payload))
	}
	word, value := binary.NativeEndian.Uint32(m.payload), binary.NativeEndian.Uint32(m.payload[4:])
	index := word &^ vringNoFile
	if index >= rings {
		return nil, fmt.Errorf("ring %d, want one of %d", index, rings)
	}
	r := &e.rings[index]
	switch m.request {
	case setVringNum:
		if value == 0 || value > maxRing || value&(value-1) != 0 {
			return nil, fmt.Errorf("ring of %d", value)
		}
		r.size = uint16(value)
	case setVringBase:
		r.lastAvail = uint16(value)
	case setVringAddr:
		return nil, e.setAddresses(r, m.payload)
	case setVringCall:
		r.call = replace(r.call, m.files)
	case setVringKick:
		r.kick, r.enabled = replace(r.kick, m.files), true
		if r.kick != nil {
			go e.cable.listen(r.kick)
		}
	case setVringEnable:
		r.enabled = value == 1
	case getVringBase:
		base := binary.NativeEndian.AppendUint32(nil, word)
		base = binary.NativeEndian.AppendUint32(base, uint32(r.lastAvail))
		r.stop()
		return base, nil
	default:
		return nil, errors.New("unknown")
	}
	e.cable.kick()
	return nil, nil
}

// replace closes a ring's old descriptor and returns the new one that came with a message, if any.
func replace(old *os.File, files []*os.File) *os.File {
	if old != nil {
		old.Close()
	}
	if len(files) == 0 {
		return nil
	}
	return files[0]
}

// setAddresses finds the three parts of a ring in memory.
func (e *end) setAddresses(r *ring, p []byte) error {
	if len(p) < 40 || r.size == 0 {
		return errors.New("ring's addresses are cut off, or come before its size")
	}
	part := func(offset int, size int) []byte {
		b, err := e.memory.user(binary.NativeEndian.Uint64(p[offset:]), uint64(size))
		if err != nil {
			return nil
		}
		return b
	}
	n := int(r.size)
	r.desc, r.used, r.avail = part(8, 16*n), part(16, 4+8*n), part(24, 4+2*n)
	if r.desc == nil || r.used == nil || r.avail == nil {
		return errors.New("ring lies outside of shared memory")
	}
	r.usedIndex = binary.LittleEndian.Uint16(r.used[2:])
	return nil
}

// listen passes the driver's kicks of a ring on, until the descriptor is closed.
func (c *Cable) listen(kick *os.File) {
	var count [8]byte
	for {
		if _, err := kick.Read(count[:]); err != nil {
			return
		}
		c.kick()
	}
}
