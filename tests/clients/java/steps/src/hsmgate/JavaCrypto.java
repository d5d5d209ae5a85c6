package hsmgate;

import java.io.ByteArrayInputStream;
import java.math.BigInteger;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeSet;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;

/** What Java's own library makes, opens and checks, without the gateway. */
public final class JavaCrypto {
    private static final int VERSION_BYTES = 36;
    private static final int IV_BYTES = 12;

    private JavaCrypto() {}

    public static byte[] random(int length) {
        byte[] bytes = new byte[length];
        new SecureRandom().nextBytes(bytes);
        return bytes;
    }

    public static byte[] sha256(byte[] message) throws GeneralSecurityException {
        return MessageDigest.getInstance("SHA-256").digest(message);
    }

    /** The DER of a PEM that holds one thing. */
    public static byte[] der(String pem) {
        return Bytes.bytes(pem.replaceAll("-----[^-]+-----", "").replaceAll("\\s", ""));
    }

    public static PublicKey publicKey(String pem, String kind) throws GeneralSecurityException {
        return KeyFactory.getInstance(kind).generatePublic(new X509EncodedKeySpec(der(pem)));
    }

    public static KeyPair rsaPair(int bits) throws GeneralSecurityException {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(bits);
        return generator.generateKeyPair();
    }

    private static Cipher rsa(String algorithm, int mode, java.security.Key key) throws GeneralSecurityException {
        if (algorithm.equals("RSAES_PKCS1_V1_5")) {
            Cipher cipher = Cipher.getInstance("RSA/ECB/PKCS1Padding");
            cipher.init(mode, key);
            return cipher;
        }
        String hash = algorithm.equals("RSAES_OAEP_SHA_256") ? "SHA-256" : "SHA-1";
        Cipher cipher = Cipher.getInstance("RSA/ECB/OAEPPadding");
        // One hash for label and mask: Java would take SHA-1 for the mask.
        cipher.init(mode, key, new OAEPParameterSpec(
                hash, "MGF1", new MGF1ParameterSpec(hash), PSource.PSpecified.DEFAULT));
        return cipher;
    }

    public static byte[] encrypt(String algorithm, PublicKey key, byte[] plaintext) throws GeneralSecurityException {
        return rsa(algorithm, Cipher.ENCRYPT_MODE, key).doFinal(plaintext);
    }

    public static byte[] decrypt(String algorithm, PrivateKey key, byte[] ciphertext) throws GeneralSecurityException {
        return rsa(algorithm, Cipher.DECRYPT_MODE, key).doFinal(ciphertext);
    }

    /** Whether it is a signature of the message by the private half of this public key. */
    public static boolean verifies(String algorithm, String pem, byte[] message, byte[] signature) throws Exception {
        Signature verifier;
        switch (algorithm) {
            case "RSA_PSS_SHA_256" -> {
                verifier = Signature.getInstance("RSASSA-PSS");
                verifier.setParameter(new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
                verifier.initVerify(publicKey(pem, "RSA"));
            }
            case "RSA_PKCS1_SHA_256" -> {
                verifier = Signature.getInstance("SHA256withRSA");
                verifier.initVerify(publicKey(pem, "RSA"));
            }
            default -> {
                verifier = Signature.getInstance("SHA256withECDSA");
                verifier.initVerify(publicKey(pem, "EC"));
            }
        }
        verifier.update(message);
        return verifier.verify(signature);
    }

    /** The same for ECDSA on secp256k1, which Java has dropped (SEC 1, section 4.1.4). */
    public static boolean verifiesOnSecp256k1(String pem, byte[] message, byte[] signature) throws Exception {
        byte[] spki = der(pem);
        BigInteger x = new BigInteger(1, Arrays.copyOfRange(spki, spki.length - 64, spki.length - 32));
        BigInteger y = new BigInteger(1, Arrays.copyOfRange(spki, spki.length - 32, spki.length));
        // SEQUENCE of two INTEGERs, all shorter than 128 bytes.
        int lengthOfR = signature[3];
        BigInteger r = new BigInteger(Arrays.copyOfRange(signature, 4, 4 + lengthOfR));
        BigInteger s = new BigInteger(Arrays.copyOfRange(signature, 6 + lengthOfR, signature.length));
        BigInteger inverse = s.modInverse(Secp256k1.N);
        BigInteger hash = new BigInteger(1, sha256(message));
        BigInteger[] sum = Secp256k1.add(
                Secp256k1.multiply(hash.multiply(inverse).mod(Secp256k1.N), Secp256k1.G),
                Secp256k1.multiply(r.multiply(inverse).mod(Secp256k1.N), new BigInteger[] {x, y}));
        return sum[0].mod(Secp256k1.N).equals(r);
    }

    private static final class Secp256k1 {
        static final BigInteger P =
                new BigInteger("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f", 16);
        static final BigInteger N =
                new BigInteger("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16);
        static final BigInteger[] G = {
            new BigInteger("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", 16),
            new BigInteger("483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8", 16)
        };

        static BigInteger[] add(BigInteger[] a, BigInteger[] b) {
            if (a == null || b == null) {
                return a == null ? b : a;
            }
            BigInteger slope;
            if (a[0].equals(b[0])) {
                if (a[1].add(b[1]).mod(P).signum() == 0) {
                    return null;
                }
                slope = a[0].pow(2).multiply(BigInteger.valueOf(3)).multiply(a[1].shiftLeft(1).modInverse(P));
            } else {
                slope = b[1].subtract(a[1]).multiply(b[0].subtract(a[0]).mod(P).modInverse(P));
            }
            BigInteger x = slope.pow(2).subtract(a[0]).subtract(b[0]).mod(P);
            return new BigInteger[] {x, slope.multiply(a[0].subtract(x)).subtract(a[1]).mod(P)};
        }

        static BigInteger[] multiply(BigInteger times, BigInteger[] point) {
            BigInteger[] sum = null;
            for (int bit = times.bitLength() - 1; bit >= 0; bit--) {
                sum = add(sum, sum);
                if (times.testBit(bit)) {
                    sum = add(sum, point);
                }
            }
            return sum;
        }
    }

    /** Key and certificate of a PKCS#12 with one entry. */
    public static KeyStore.PrivateKeyEntry open(byte[] container, String password) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new ByteArrayInputStream(container), password.toCharArray());
        String alias = store.aliases().nextElement();
        return (KeyStore.PrivateKeyEntry)
                store.getEntry(alias, new KeyStore.PasswordProtection(password.toCharArray()));
    }

    public static X509Certificate certificate(String pem) throws GeneralSecurityException {
        return (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(Bytes.utf8(pem)));
    }

    /** What the published layout of a ciphertext blob authenticates beside the text. */
    private static byte[] aad(Map<String, String> context) throws GeneralSecurityException {
        TreeSet<String> parts = new TreeSet<>();
        context.forEach((name, value) -> parts.add(name + "=" + value));
        return sha256(Bytes.utf8(String.join("&", parts)));
    }

    private static Cipher gcm(int mode, byte[] material, byte[] iv, Map<String, String> context)
            throws GeneralSecurityException {
        Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
        cipher.init(mode, new SecretKeySpec(material, "AES"), new GCMParameterSpec(128, iv));
        if (!context.isEmpty()) {
            cipher.updateAAD(aad(context));
        }
        return cipher;
    }

    /** A ciphertext blob made here under imported material. What it holds is the Base64 text. */
    public static byte[] blob(String version, byte[] material, Map<String, String> context, String base64)
            throws GeneralSecurityException {
        byte[] iv = random(IV_BYTES);
        byte[] sealed = gcm(Cipher.ENCRYPT_MODE, material, iv, context).doFinal(Bytes.utf8(base64));
        return Bytes.concat(Bytes.utf8(version), iv, sealed);
    }

    /** The Base64 text in a blob of the gateway's. */
    public static String opened(byte[] blob, byte[] material, Map<String, String> context)
            throws GeneralSecurityException {
        byte[] iv = Arrays.copyOfRange(blob, VERSION_BYTES, VERSION_BYTES + IV_BYTES);
        byte[] sealed = Arrays.copyOfRange(blob, VERSION_BYTES + IV_BYTES, blob.length);
        return new String(
                gcm(Cipher.DECRYPT_MODE, material, iv, context).doFinal(sealed),
                java.nio.charset.StandardCharsets.UTF_8);
    }
}
