import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AlgorithmParameters;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.interfaces.ECPublicKey;
import java.security.spec.MGF1ParameterSpec;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cms.CMSAlgorithm;
import org.bouncycastle.cms.CMSAuthEnvelopedDataGenerator;
import org.bouncycastle.cms.CMSCompressedDataGenerator;
import org.bouncycastle.cms.CMSEnvelopedDataStreamGenerator;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.RecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceCMSContentEncryptorBuilder;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.ZlibCompressor;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;

/**
 * Encrypts and compresses with Bouncy Castle.
 *
 * Argument: a list of lines "CONTENT CERTIFICATE WAY CIPHER OUT": the content, DER of the recipient's
 * certificate; "pkcs1", "oaep", "oaep-DIGEST", the name of a way to agree with or without "+ukm", or
 * "compress"; a cipher's name in CMSAlgorithm; and where the CMS octets go.
 */
public class BouncyCastleEnvelop {
  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    for (String line : Files.readAllLines(Path.of(args[0]))) {
      String[] words = line.split(" ");
      byte[] content = Files.readAllBytes(Path.of(words[0]));
      try {
        Files.write(Path.of(words[4]), make(content, Path.of(words[1]), words[2], words[3]));
        System.out.println("good");
      } catch (Exception error) {
        Throwable cause = error;
        while (cause.getCause() != null) cause = cause.getCause();
        System.out.println(cause.toString().replace('\n', ' '));
      }
    }
  }

  static byte[] make(byte[] content, Path certificate, String way, String cipher) throws Exception {
    if (way.equals("compress"))
      return new CMSCompressedDataGenerator()
          .generate(new CMSProcessableByteArray(content), new ZlibCompressor())
          .getEncoded();
    RecipientInfoGenerator recipient = recipient(read(certificate), way);
    JceCMSContentEncryptorBuilder encryptor =
        new JceCMSContentEncryptorBuilder(
                (ASN1ObjectIdentifier) CMSAlgorithm.class.getField(cipher).get(null))
            .setProvider("BC");
    if (cipher.endsWith("GCM") || cipher.endsWith("CCM")) {
      CMSAuthEnvelopedDataGenerator generator = new CMSAuthEnvelopedDataGenerator();
      generator.addRecipientInfoGenerator(recipient);
      return generator
          .generate(new CMSProcessableByteArray(content), (OutputAEADEncryptor) encryptor.build())
          .getEncoded();
    }
    // Indefinite lengths, and a content in segments.
    CMSEnvelopedDataStreamGenerator generator = new CMSEnvelopedDataStreamGenerator();
    generator.setBufferSize(100);
    generator.addRecipientInfoGenerator(recipient);
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (OutputStream stream = generator.open(out, encryptor.build())) {
      stream.write(content);
    }
    return out.toByteArray();
  }

  static RecipientInfoGenerator recipient(X509Certificate certificate, String way)
      throws Exception {
    if (way.equals("pkcs1"))
      return new JceKeyTransRecipientInfoGenerator(certificate).setProvider("BC");
    if (way.startsWith("oaep")) {
      String digest = way.equals("oaep") ? "SHA-1" : way.substring(5);
      AlgorithmParameters parameters = AlgorithmParameters.getInstance("OAEP", "BC");
      MGF1ParameterSpec mask = new MGF1ParameterSpec(digest);
      parameters.init(new OAEPParameterSpec(digest, "MGF1", mask, PSource.PSpecified.DEFAULT));
      AlgorithmIdentifier identifier =
          new JcaAlgorithmParametersConverter()
              .getAlgorithmIdentifier(
                  new ASN1ObjectIdentifier("1.2.840.113549.1.1.7"), parameters);
      return new JceKeyTransRecipientInfoGenerator(certificate, identifier).setProvider("BC");
    }
    String[] words = way.split("\\+");
    KeyPairGenerator keys = KeyPairGenerator.getInstance("EC", "BC");
    keys.initialize(((ECPublicKey) certificate.getPublicKey()).getParams());
    KeyPair sender = keys.generateKeyPair();
    JceKeyAgreeRecipientInfoGenerator generator =
        new JceKeyAgreeRecipientInfoGenerator(
            (ASN1ObjectIdentifier) CMSAlgorithm.class.getField(words[0]).get(null),
            sender.getPrivate(),
            sender.getPublic(),
            CMSAlgorithm.AES256_WRAP);
    generator.addRecipient(certificate).setProvider("BC");
    if (words.length > 1) generator.setUserKeyingMaterial("some material".getBytes());
    return generator;
  }

  static X509Certificate read(Path file) throws Exception {
    return (X509Certificate)
        CertificateFactory.getInstance("X.509", "BC").generateCertificate(Files.newInputStream(file));
  }
}
