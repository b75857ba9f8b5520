import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.Security;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.Properties;
import java.util.Set;
import javax.mail.Session;
import javax.mail.internet.MimeMessage;
import javax.mail.internet.MimeMultipart;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaCertStoreBuilder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.mail.smime.SMIMESigned;

/**
 * Verifies messages with Bouncy Castle, which reads the mail by itself too.
 *
 * Arguments: PEM of the root, and a list of lines "MESSAGE CONTENT": the message, and where what it
 * signs is to be written. Prints a line for each: "good", or what is wrong with it.
 */
public class BouncyCastleVerify {
  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    X509Certificate root;
    try (FileInputStream in = new FileInputStream(args[0])) {
      root = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
    }
    for (String line : Files.readAllLines(Path.of(args[1]))) {
      String[] paths = line.split(" ");
      String verdict;
      try {
        verdict = verdict(Path.of(paths[0]), Path.of(paths[1]), root);
      } catch (Exception error) {
        verdict = error.toString().replace('\n', ' ');
      }
      System.out.println(verdict);
    }
  }

  static String verdict(Path message, Path content, X509Certificate root) throws Exception {
    byte[] octets = Files.readAllBytes(message);
    Session session = Session.getInstance(new Properties());
    MimeMessage mail = new MimeMessage(session, new ByteArrayInputStream(octets));
    boolean clear = mail.isMimeType("multipart/signed");
    SMIMESigned read =
        clear ? new SMIMESigned((MimeMultipart) mail.getContent()) : new SMIMESigned(mail);
    try (OutputStream out = new FileOutputStream(content.toFile())) {
      read.getContent().writeTo(out);
    }
    // Where the signed part is a multipart that holds multiparts, SMIMESigned writes it anew before it
    // takes the digest, and then finds another one. The octets as JavaMail has read them are what counts.
    CMSSignedData signed =
        clear
            ? new CMSSignedData(
                new CMSProcessableByteArray(Files.readAllBytes(content)), read.getEncoded())
            : read;
    if (signed.getSignerInfos().size() != 1) return "not one signer";
    for (SignerInformation signer : signed.getSignerInfos()) {
      X509CertificateHolder holder =
          (X509CertificateHolder) signed.getCertificates().getMatches(signer.getSID()).iterator().next();
      X509Certificate certificate = new JcaX509CertificateConverter().getCertificate(holder);
      // With the certificate and not its key alone: the signing time must lie in its lifetime.
      if (!signer.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider("BC").build(certificate)))
        return "bad signature";
      requirePath(certificate, signed, root);
    }
    return "good";
  }

  static void requirePath(X509Certificate certificate, CMSSignedData signed, X509Certificate root)
      throws Exception {
    X509CertSelector target = new X509CertSelector();
    target.setCertificate(certificate);
    PKIXBuilderParameters wanted =
        new PKIXBuilderParameters(Set.of(new TrustAnchor(root, null)), target);
    wanted.setRevocationEnabled(false);
    wanted.addCertStore(
        new JcaCertStoreBuilder()
            .addCertificates(signed.getCertificates())
            .setProvider("BC")
            .build());
    CertPathBuilder.getInstance("PKIX", "BC").build(wanted);
  }
}
