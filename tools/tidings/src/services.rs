//! The five services as the command knows them from outside: names, ports, databases.

/// One service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceName {
    /// Takes orders and decides how they end.
    Order,
    /// Holds and gives stock.
    Inventory,
    /// Takes and returns money.
    Payment,
    /// Writes mails.
    Notification,
    /// Keeps read models.
    Analytics,
}

impl ServiceName {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 5] =
        [Self::Order, Self::Inventory, Self::Payment, Self::Notification, Self::Analytics];

    /// The name of its binary, its group, and its database's end.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Notification => "notification",
            Self::Analytics => "analytics",
        }
    }

    /// Where it listens on the loopback interface unless told otherwise.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Order => 8080,
            Self::Inventory => 8081,
            Self::Payment => 8082,
            Self::Notification => 8083,
            Self::Analytics => 8084,
        }
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
