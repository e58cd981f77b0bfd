package reference

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"holdfast/verify/pcrs"
	"holdfast/verify/report"
	"holdfast/verify/sshsig"
)

// signHint says how a signature is made.
const signHint = "ssh-keygen -Y sign -f KEY -n " + pcrs.Namespace + " PCRS.md"

// ReadSignature reads the signature beside a PCRS.md.
func ReadSignature(pcrsFile string) ([]byte, error) {
	signature, err := ReadFile(pcrsFile+".sig", sshsig.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{int(report.Signature), err, "--signers asks for a signature; to make one: " + signHint}
	}
	return signature, err
}

// VerifySignature checks the signature of a PCRS.md and returns who signed.
func VerifySignature(measurements, signature []byte, signersFile string, at time.Time) (signer string, err error) {
	data, err := ReadFile(signersFile, sshsig.MaxSignersSize)
	if err != nil {
		return "", err
	}
	signers, err := sshsig.ParseSigners(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", signersFile, err)
	}
	if signer, err = sshsig.Verify(measurements, signature, pcrs.Namespace, signers, at); err != nil {
		return "", &Error{int(report.Signature), fmt.Errorf("PCRS.md: %w", err), "whoever can change PCRS.md decides which enclaves are accepted"}
	}
	return signer, nil
}

// VerifySignatureOf checks the signature beside a PCRS.md.
func VerifySignatureOf(pcrsFile, signersFile string) (signer string, err error) {
	measurements, err := ReadMeasurements(pcrsFile)
	if err != nil {
		return "", err
	}
	signature, err := ReadSignature(pcrsFile)
	if err != nil {
		return "", err
	}
	return VerifySignature(measurements, signature, signersFile, time.Now())
}
