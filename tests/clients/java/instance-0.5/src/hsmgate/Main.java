package hsmgate;

import com.aliyun.dkms.gcs.sdk.Client;
import java.nio.file.Files;
import java.nio.file.Path;

/** The newest instance SDK with its transfer client. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Steps steps = new Steps();
        Gateway plain = Gateway.named("HSMGATE_DEV_JSON");
        Gateway secured = Gateway.named("HSMGATE_TLS_DEV_JSON");

        PublicApi kms = new PublicApi(plain);
        Client client = Instance.client(plain, kms.newClientKey("[\"key/*\"]"));
        new Instance(steps, "http-", client, kms, plain).all();
        Advance.steps(steps, "http-", client, kms);
        Transfer.steps(steps, "http-", kms, plain);

        PublicApi securedKms = new PublicApi(secured);
        steps.step("https-takes-the-files-of-the-command-line", () -> {
            Client ofFiles = new Client(Instance.config(secured)
                    .setClientKeyFile(secured.get("client_key_file"))
                    .setPassword(Files.readString(Path.of(secured.get("client_key_password_file")))));
            com.aliyun.dkms.gcs.sdk.models.GenerateRandomRequest request =
                    new com.aliyun.dkms.gcs.sdk.models.GenerateRandomRequest();
            request.setLength(16);
            Steps.equal(16, ofFiles.generateRandom(request).getRandom().length);
        });
        Client securedClient = Instance.client(secured, securedKms.newClientKey("[\"key/*\"]"));
        new Instance(steps, "https-", securedClient, securedKms, secured).all();
        Advance.steps(steps, "https-", securedClient, securedKms);
        Transfer.steps(steps, "https-", securedKms, secured);
        steps.finish();
    }
}
