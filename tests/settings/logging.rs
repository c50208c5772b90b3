//! Logging belongs to the whole process.

use million::framework::settings::Settings;
use million::services::logging::{LoggingError, init};

#[test]
fn logging_is_set_up_once() {
    let settings = Settings::parse("logger: { console_level: off }", "f.yaml").unwrap();
    let _guard = init(settings.logger()).unwrap();
    assert!(matches!(
        init(settings.logger()),
        Err(LoggingError::Twice(_))
    ));
}
