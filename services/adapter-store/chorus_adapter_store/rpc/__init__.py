"""The store on the wire: protobuf begins and ends here."""
