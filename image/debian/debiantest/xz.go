package debiantest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// XZ returns data as an .xz stream (the .xz file format, version 1.2.0) in which nothing is
// compressed: one block of LZMA2 chunks that are stored. The standard library has no encoder.
func XZ(data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("\xfd7zXZ\x00")
	flags := []byte{0, 0} // no integrity check beyond those of the headers
	b.Write(flags)
	writeCRC(&b, flags)

	// Block header: its size in words less one, no optional fields, the LZMA2 filter with a 4 KiB dictionary.
	header := []byte{2, 0, 0x21, 1, 0, 0, 0, 0}
	b.Write(header)
	writeCRC(&b, header)
	start := b.Len()
	for first := true; len(data) > 0; first = false {
		n := min(len(data), 1<<12)
		control := byte(2)
		if first {
			control = 1 // resets the dictionary
		}
		b.Write([]byte{control, byte((n - 1) >> 8), byte(n - 1)})
		b.Write(data[:n])
		data = data[n:]
	}
	b.WriteByte(0)
	unpadded := 12 + b.Len() - start
	total := dataSize(b.Bytes()[start:])
	pad(&b)

	var index []byte
	index = append(index, 0, 1)
	index = binary.AppendUvarint(index, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(total))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	b.Write(index)
	writeCRC(&b, index)

	footer := binary.LittleEndian.AppendUint32(nil, uint32((len(index)+4)/4-1))
	footer = append(footer, flags...)
	writeCRC(&b, footer)
	b.Write(footer)
	b.WriteString("YZ")
	return b.Bytes()
}

// dataSize adds up the sizes of stored chunks.
func dataSize(chunks []byte) int {
	total := 0
	for chunks[0] != 0 {
		n := int(chunks[1])<<8 + int(chunks[2]) + 1
		total += n
		chunks = chunks[3+n:]
	}
	return total
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

func writeCRC(b *bytes.Buffer, of []byte) {
	var sum [4]byte
	binary.LittleEndian.PutUint32(sum[:], crc32.ChecksumIEEE(of))
	b.Write(sum[:])
}
