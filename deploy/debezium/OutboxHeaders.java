package tidings.debezium;

import java.util.Map;

import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.header.ConnectHeaders;
import org.apache.kafka.connect.header.Header;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * The headers of a record as the polling relay writes them. Debezium's event router puts columns into headers; it writes those that
 * are null as well, adds one called `id`, and leaves out the zeros at the end of a time. Records without the column are not from the
 * outbox, and stay as they are.
 */
public final class OutboxHeaders<R extends ConnectRecord<R>> implements Transformation<R> {
    private static final String CONTENT_TYPE = "content.type";
    private static final int MICROSECONDS = "2026-11-30T12:00:00.123456Z".length();

    private String contentType;

    @Override
    public void configure(Map<String, ?> settings) {
        contentType = (String) config().parse(settings).get(CONTENT_TYPE);
    }

    @Override
    public ConfigDef config() {
        return new ConfigDef().define(CONTENT_TYPE, ConfigDef.Type.STRING, ConfigDef.Importance.HIGH,
                "The media type of all values, the header content-type.");
    }

    @Override
    public R apply(R record) {
        if (record.headers().lastWithName("ce_id") == null) {
            return record;
        }
        ConnectHeaders written = new ConnectHeaders();
        for (Header header : record.headers()) {
            if (header.value() != null) {
                write(header.key(), header.value(), written);
            }
        }
        return record.newRecord(record.topic(), record.kafkaPartition(), record.keySchema(), record.key(), record.valueSchema(),
                record.value(), record.timestamp(), written);
    }

    private void write(String name, Object value, ConnectHeaders written) {
        switch (name) {
            case "id" -> {
            }
            case "header_names" -> throw new ConnectException(
                    "a message of the outbox has headers of its own, which are not read: its topic belongs to the polling relay");
            case "ce_id" -> {
                written.addString("ce_specversion", "1.0");
                written.addString(name, value.toString());
            }
            case "ce_time" -> written.addString(name, microseconds(value.toString()));
            case "ce_subject" -> {
                written.addString(name, value.toString());
                written.addString("content-type", contentType);
            }
            default -> written.addString(name, value.toString());
        }
    }

    /** "12:00:00Z" and "12:00:00.5Z" with six digits of a second. */
    private static String microseconds(String time) {
        String digits = time.substring(0, time.length() - 1);
        StringBuilder padded = new StringBuilder(MICROSECONDS).append(digits);
        if (digits.indexOf('.') < 0) {
            padded.append('.');
        }
        while (padded.length() < MICROSECONDS - 1) {
            padded.append('0');
        }
        return padded.append('Z').toString();
    }

    @Override
    public void close() {
    }
}
