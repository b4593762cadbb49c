//! The one list of the services: their names and ports, in the order in which an order meets them.
//!
//! A service that is added here is started, verified, and has its dashboard. What is written by hand (manifests, alerts, the
//! Makefile, scripts) is compared with this list by `tests/architecture`.

/// Declares the services once: the variants, `ALL`, and what belongs to each.
macro_rules! services {
    ($($(#[$meaning:meta])* $service:ident: $name:literal, $port:literal;)+) => {
        /// One service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ServiceName {
            $($(#[$meaning])* $service,)+
        }

        impl ServiceName {
            /// All of them, in the order of their ports.
            pub const ALL: [Self; [$($port),+].len()] = [$(Self::$service),+];

            /// The names of all.
            pub const NAMES: [&'static str; Self::ALL.len()] = [$($name),+];

            /// The name of its binary, its group, and its database's end.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$service => $name,)+
                }
            }

            /// Its default address on the loopback interface.
            #[must_use]
            pub const fn default_port(self) -> u16 {
                match self {
                    $(Self::$service => $port,)+
                }
            }
        }
    };
}

services! {
    /// Takes orders and decides how they end.
    Order: "order", 8080;
    /// Holds and gives stock.
    Inventory: "inventory", 8081;
    /// Takes and returns money.
    Payment: "payment", 8082;
    /// Writes mails.
    Notification: "notification", 8083;
    /// Keeps read models.
    Analytics: "analytics", 8084;
}

impl ServiceName {
    /// The service of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.as_str() == name)
    }

    /// The name of its database.
    #[must_use]
    pub fn database(self) -> String {
        format!("tidings_{}", self.as_str())
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_are_distinct_and_ports_ascend() {
        for pair in ServiceName::ALL.windows(2) {
            assert!(pair[0].default_port() < pair[1].default_port(), "{pair:?}");
        }
        for service in ServiceName::ALL {
            assert_eq!(ServiceName::named(service.as_str()), Some(service));
        }
    }
}
