//! The one macro through which a type may reach a map.

/// Declares a `repr(C)` struct whose fields cover every byte: hidden padding does not compile.
macro_rules! layout {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$ty>())*,
            concat!(stringify!($name), " has hidden padding"),
        );

        impl $name {
            /// All bytes zero.
            // SAFETY: the macro admits only integers, arrays of them and other layouts, for all of
            // which zero bytes are a value.
            pub const ZERO: Self = unsafe { core::mem::zeroed() };
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ZERO
            }
        }

        // SAFETY: `repr(C)`, `Copy`, no padding (asserted above) and no field with an invalid bit
        // pattern, because `layout!` is used with integers, arrays of them and other layouts only.
        #[cfg(feature = "userspace")]
        unsafe impl aya::Pod for $name {}
    };
}

/// Declares a closed enum of `u8` codes with `TryFrom<u8>`.
macro_rules! codes {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $code:literal => $text:literal,)* }) => {
        $(#[$meta])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant = $code,)* }

        impl $name {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that metrics and JSON use.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = u8;

            #[inline(always)]
            fn try_from(code: u8) -> Result<Self, u8> {
                match code { $($code => Ok(Self::$variant),)* other => Err(other) }
            }
        }
    };
}
