import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.Security;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Properties;
import javax.mail.Session;
import javax.mail.internet.MimeMessage;
import org.bouncycastle.asn1.ASN1InputStream;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.cms.ContentInfo;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.KeyAgreeRecipientInformation;
import org.bouncycastle.cms.Recipient;
import org.bouncycastle.cms.RecipientId;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.RecipientInformationStore;
import org.bouncycastle.cms.jcajce.JceKeyAgreeEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * Opens messages with Bouncy Castle, which reads the mail by itself too.
 *
 * Argument: a list of lines "MESSAGE CERTIFICATE KEY CONTENT": the message, DER of the recipient's
 * certificate and of its private key (PKCS #8), and where what was inside is to be written. Prints a
 * line for each: "good", or what is wrong with it.
 */
public class BouncyCastleOpen {
  public static void main(String[] args) throws Exception {
    Security.addProvider(new BouncyCastleProvider());
    for (String line : Files.readAllLines(Path.of(args[0]))) {
      String[] paths = line.split(" ");
      String verdict;
      try {
        Files.write(Path.of(paths[3]), open(Path.of(paths[0]), Path.of(paths[1]), Path.of(paths[2])));
        verdict = "good";
      } catch (Exception error) {
        Throwable cause = error;
        while (cause.getCause() != null) cause = cause.getCause();
        verdict = cause.toString().replace('\n', ' ');
      }
      System.out.println(verdict);
    }
  }

  static byte[] open(Path message, Path certificate, Path keyFile) throws Exception {
    Session session = Session.getInstance(new Properties());
    MimeMessage mail =
        new MimeMessage(session, new ByteArrayInputStream(Files.readAllBytes(message)));
    ByteArrayOutputStream body = new ByteArrayOutputStream();
    mail.getDataHandler().writeTo(body);
    ContentInfo info =
        ContentInfo.getInstance(new ASN1InputStream(body.toByteArray()).readObject());
    boolean authenticated = info.getContentType().equals(CMSObjectIdentifiers.authEnvelopedData);
    RecipientInformationStore infos =
        authenticated
            ? new CMSAuthEnvelopedData(info.getEncoded()).getRecipientInfos()
            : new CMSEnvelopedData(info).getRecipientInfos();
    X509CertificateHolder holder = new X509CertificateHolder(Files.readAllBytes(certificate));
    for (RecipientInformation one : infos.getRecipients()) {
      RecipientId id = one.getRID();
      if (id.match(holder)) return one.getContent(recipient(one, authenticated, keyOf(keyFile)));
    }
    throw new Exception("no RecipientInfo is the recipient's");
  }

  static Recipient recipient(RecipientInformation one, boolean authenticated, PrivateKey key)
      throws Exception {
    if (one instanceof KeyAgreeRecipientInformation)
      return authenticated
          ? agreeingAuthenticated(key)
          : new JceKeyAgreeEnvelopedRecipient(key).setProvider("BC");
    return authenticated
        ? new JceKeyTransAuthEnvelopedRecipient(key).setProvider("BC")
        : new JceKeyTransEnvelopedRecipient(key).setProvider("BC");
  }

  /** By its name, because releases before 1.73 do not have it. */
  static Recipient agreeingAuthenticated(PrivateKey key) throws Exception {
    String name = "org.bouncycastle.cms.jcajce.JceKeyAgreeAuthEnvelopedRecipient";
    return (Recipient) Class.forName(name).getConstructor(PrivateKey.class).newInstance(key);
  }

  static PrivateKey keyOf(Path file) throws Exception {
    byte[] octets = Files.readAllBytes(file);
    String algorithm =
        PrivateKeyInfo.getInstance(octets).getPrivateKeyAlgorithm().getAlgorithm().getId();
    return KeyFactory.getInstance(algorithm, "BC").generatePrivate(new PKCS8EncodedKeySpec(octets));
  }
}
