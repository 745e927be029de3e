"""Items as queries see them."""

from cim_domain import (
    NotFound,
    Page,
    Projection,
    Query,
    View,
    Views,
    answers,
    projects,
)

from aggregates.DOMAIN.item import ItemAdded, ItemRenamed


class ItemView(View, name="item", indexed=("number",), searched=("title",)):
    number: str
    title: str


class GetItem(Query, type="item.get"):
    number: str


class ListItems(Query, type="item.list"):
    text: str = ""
    limit: int = 50
    after: str | None = None


class Items(Projection):
    @projects
    def named(self, _: ItemView | None, event: ItemAdded | ItemRenamed) -> ItemView:
        return ItemView(number=event.number, title=event.title)

    @answers
    async def get(self, query: GetItem, views: Views) -> ItemView:
        found = await views.first(ItemView, number=query.number)
        if found is None:
            raise NotFound(f"there is no item {query.number}")
        return found

    @answers
    async def list_items(self, query: ListItems, views: Views) -> Page[ItemView]:
        return await views.find(
            ItemView,
            text=query.text,
            order_by="number",
            limit=query.limit,
            after=query.after,
        )
